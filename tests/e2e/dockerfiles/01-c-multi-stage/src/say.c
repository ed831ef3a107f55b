#include <stdio.h>

void say(const char *text)
{
    puts(text);
}
