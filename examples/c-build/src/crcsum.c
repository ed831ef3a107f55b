/* crcsum FILE... : the CRC-32 of each file, as gzip and zip compute it. */

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* 0 when the whole file was read. */
static int crc_of(const char *path, unsigned long *crc)
{
    unsigned char buffer[1 << 16];
    size_t length;
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        return -1;
    *crc = crc32(0L, Z_NULL, 0);
    while ((length = fread(buffer, 1, sizeof buffer, file)) > 0)
        *crc = crc32(*crc, buffer, (uInt)length);
    int failed = ferror(file);
    fclose(file);
    return failed ? -1 : 0;
}

int main(int argc, char **argv)
{
    int status = EXIT_SUCCESS;

    if (argc < 2) {
        fputs("usage: crcsum FILE...\n", stderr);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        unsigned long crc;

        if (crc_of(argv[i], &crc) == 0) {
            printf("%08lx  %s\n", crc, argv[i]);
        } else {
            perror(argv[i]);
            status = EXIT_FAILURE;
        }
    }
    return status;
}
