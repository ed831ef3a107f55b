#define TEXT_OF(word) #word
#define TEXT(word) TEXT_OF(word)

void say(const char *text);

int main(void)
{
    say(TEXT(GREETING));
    return 0;
}
