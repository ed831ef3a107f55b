/* A shell of a few kilobytes that needs nothing: all that the pins' root file systems have (see ../make_program).

   It reads commands, one a line or with `;` between them; words stand between spaces, or in single quotes; # begins a comment.
       echo WORD...        mkdir PATH       cat PATH...       env       exit N       fail (exit 1)       sleep SECONDS
       put PATH WORD...    writes a file    append PATH WORD...
       ls PATH             names and types of what is in a directory
       where               directory, host name, user and group ids, mask of files
       open                open descriptors, and what they lead to
       limits              resource limits
       try PATH...         how a path can be opened, to read and to write
       calls               what the kernel answers to each system call of x86-64, all arguments of which are wrong
       special             what it answers to some whose arguments a filter looks at
   It ends with 127 where a command is none of these, and with 1 where one fails. */

typedef long word;
typedef unsigned long uword;

static word call(word number, word a, word b, word c, word d, word e, word f) {
    word result;
    register word r10 __asm__("r10") = d;
    register word r8 __asm__("r8") = e;
    register word r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define call0(n) call(n, 0, 0, 0, 0, 0, 0)
#define call1(n, a) call(n, (word)(a), 0, 0, 0, 0, 0)
#define call2(n, a, b) call(n, (word)(a), (word)(b), 0, 0, 0, 0)
#define call3(n, a, b, c) call(n, (word)(a), (word)(b), (word)(c), 0, 0, 0)
#define call4(n, a, b, c, d) call(n, (word)(a), (word)(b), (word)(c), (word)(d), 0, 0)

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, FORK = 57, EXIT = 231, WAIT = 61, UNAME = 63, GETCWD = 79, MKDIR = 83,
       READLINK = 89, UMASK = 95, GETUID = 102, GETGROUPS = 115, GETRESUID = 118, GETRESGID = 120, GETPPID = 110,
       ALARM = 37, NANOSLEEP = 35, GETDENTS = 217, PRLIMIT = 302, GETSID = 124, GETPGID = 121, GETPID = 39, SETRLIMIT = 160 };

static char **variables;
static char buffer[65536];

static word length(const char *text) { word n = 0; while (text[n]) n++; return n; }
static int same(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return *a == *b; }
static void put(int to, const char *text) { call3(WRITE, to, text, length(text)); }
static void print(const char *text) { put(1, text); }
static void number(word value) {
    char digits[24]; int at = 23; uword rest = value < 0 ? -(uword)value : (uword)value;
    digits[at] = 0;
    do digits[--at] = '0' + rest % 10; while (rest /= 10);
    if (value < 0) digits[--at] = '-';
    print(digits + at);
}
static word value(const char *text) { word n = 0; while (*text >= '0' && *text <= '9') n = n * 10 + *text++ - '0'; return n; }
static void labelled(const char *name, word found) { print(name); print(" "); number(found); print("\n"); }

static word copy(const char *path) {
    word file = call3(OPEN, path, 0, 0), count;
    if (file < 0) { put(2, path); put(2, ": cannot be read\n"); return file; }
    while ((count = call3(READ, file, buffer, sizeof buffer)) > 0) call3(WRITE, 1, buffer, count);
    call1(CLOSE, file);
    return count;
}
static word save(char **words, int count, int flags) {
    word file = call3(OPEN, words[1], flags, 0644);
    if (file < 0) { put(2, words[1]); put(2, ": cannot be written\n"); return file; }
    for (int i = 2; i < count; i++) { if (i > 2) put(file, " "); put(file, words[i]); }
    put(file, "\n");
    return call1(CLOSE, file);
}
static word list(const char *path, int links) {
    char name[512], target[512];
    word directory = call3(OPEN, path, 0x90000, 0), count; /* O_DIRECTORY | O_CLOEXEC */
    if (directory < 0) { print(path); labelled(" cannot be listed", directory); return 0; }
    while ((count = call3(GETDENTS, directory, buffer, 32768)) > 0)
        for (word at = 0; at < count; at += *(unsigned short *)(buffer + at + 16)) {
            char *found = buffer + at + 19;
            if (same(found, ".") || same(found, "..")) continue;
            if (links && value(found) == directory) continue;
            print(found); print(" "); number(*(unsigned char *)(buffer + at + 18));
            if (links) {
                word i = 0; for (const char *c = path; *c; c++) name[i++] = *c;
                name[i++] = '/'; for (char *c = found; *c; c++) name[i++] = *c;
                name[i] = 0;
                word size = call3(READLINK, name, target, 511);
                if (size > 0) { target[size] = 0; print(" "); print(target); }
            }
            print("\n");
        }
    call1(CLOSE, directory);
    return 0;
}
static void where(void) {
    int ids[3], groups[64]; char names[6 * 65];
    call2(GETCWD, buffer, 4096); print("directory "); print(buffer); print("\n");
    call1(UNAME, names); print("host "); print(names + 65); print("\n"); print("domain "); print(names + 65 * 5); print("\n");
    call3(GETRESUID, &ids[0], &ids[1], &ids[2]);
    for (int i = 0; i < 3; i++) labelled("uid", ids[i]);
    call3(GETRESGID, &ids[0], &ids[1], &ids[2]);
    for (int i = 0; i < 3; i++) labelled("gid", ids[i]);
    word count = call2(GETGROUPS, 64, groups);
    for (word i = 0; i < count; i++) labelled("group", groups[i]);
    word mask = call1(UMASK, 0); call1(UMASK, mask); labelled("umask", mask);
    labelled("leads its session", call1(GETSID, 0) == call0(GETPID));
    labelled("leads its group", call1(GETPGID, 0) == call0(GETPID));
    labelled("process", call0(GETPID)); labelled("parent", call0(GETPPID));
}
static void limits(void) {
    uword pair[2];
    for (int i = 0; i < 16; i++) {
        call4(PRLIMIT, 0, i, 0, pair); number(i); print(" "); number(pair[0]); labelled("", pair[1]);
    }
}
static void attempt(const char *path) {
    print(path);
    for (int how = 0; how < 2; how++) {
        word file = call3(OPEN, path, how | 0x80800, 0); /* O_NONBLOCK | O_CLOEXEC */
        print(" "); number(file < 0 ? file : 0);
        if (file >= 0 && !how) { word count = call3(READ, file, buffer, 16); print(":"); number(count < 0 ? count : count > 0); }
        if (file >= 0) call1(CLOSE, file);
    }
    print("\n");
}
/* Each in a process of its own: it may end it, or wait for ever. */
static void answer(word which, word a, word b, word c) {
    int status = 0, pipe[2];
    word result = 0;
    call2(293, pipe, 0);
    word child = call0(FORK);
    if (!child) {
        uword none[2] = {0, 0}; call2(SETRLIMIT, 4, none); /* no core */
        call1(ALARM, 1);
        result = call(which, a, b, c, -1, -1, -1);
        if (call3(WRITE, pipe[1], &result, sizeof result) != sizeof result) call1(EXIT, 9);
        call1(EXIT, 0);
    }
    call1(CLOSE, pipe[1]);
    word got = call3(READ, pipe[0], &result, sizeof result);
    call4(WAIT, child, &status, 0x40000000, 0); /* __WALL */
    call1(CLOSE, pipe[0]);
    if (got != sizeof result) print("ended"); else if (result >= 0) print("done"); else number(result);
    print("\n");
}
static const short waiting[] = {34, 35, 56, 57, 58, 59, 15, 60, 231, 435, 3, 436, 219, 293, 22, 0, 37, 322, 109, 112, 127, 128, 130};
static void calls(void) {
    for (word i = 0; i < 463; i++) {
        int left_out = i > 334 && i < 424;
        for (uword n = 0; n < sizeof waiting / sizeof *waiting; n++) left_out |= waiting[n] == i;
        if (left_out) continue;
        number(i); print(" "); answer(i, -1, -1, -1);
    }
}
static void special(void) {
    static const struct { const char *name; word which, a, b, c; } asked[] = {
        {"unshare user", 272, 0x10000000, 0, 0}, {"unshare mount", 272, 0x20000, 0, 0}, {"unshare files", 272, 0x400, 0, 0},
        {"clone user", 56, 0x10000011, 0, 0}, {"clone3", 435, 0, 0, 0},
        {"socket unix", 41, 1, 1, 0}, {"socket inet", 41, 2, 1, 0}, {"socket raw", 41, 2, 3, 1}, {"socket ping", 41, 2, 2, 1},
        {"socket netlink route", 41, 16, 3, 0}, {"socket netlink audit", 41, 16, 3, 9}, {"socket packet", 41, 17, 3, 0},
        {"socket alg", 41, 38, 5, 0}, {"socket vsock", 41, 40, 1, 0},
        {"personality plain", 135, 0, 0, 0}, {"personality ask", 135, 0xffffffff, 0, 0}, {"personality 32", 135, 8, 0, 0},
        {"personality no randomness", 135, 0x40000, 0, 0},
        {"ioctl TIOCSTI", 16, 0, 0x5412, 0}, {"ioctl TIOCLINUX", 16, 0, 0x541c, 0}, {"ioctl TIOCSTI high bits", 16, 0, 0x100005412, 0},
        {"sethostname", 170, (word) "other", 5, 0}, {"chroot", 161, (word) "/", 0, 0}, {"setuid 0", 105, 0, 0, 0},
        {"setuid 1", 105, 1, 0, 0}, {"setns", 308, -1, 0, 0}, {"mount", 165, (word) "none", (word) "/tmp", (word) "tmpfs"},
        {"mknod device", 133, (word) "/tmp/null", 020666, 0x103}, {"mknod pipe", 133, (word) "/tmp/pipe", 010666, 0},
        {"chmod setuid", 90, (word) "/tmp", 04777, 0}, {"perf_event_open", 298, 0, 0, 0}, {"bpf", 321, 0, 0, 0},
        {"keyctl", 250, 0, 0, 0}, {"add_key", 248, 0, 0, 0}, {"userfaultfd", 323, 0, 0, 0}, {"io_uring_setup", 425, 1, 0, 0},
        {"ptrace", 101, 0, 0, 0}, {"reboot", 169, 0, 0, 0}, {"kexec_load", 246, 0, 0, 0}, {"open_by_handle_at", 304, -1, 0, 0}};
    for (uword i = 0; i < sizeof asked / sizeof *asked; i++) {
        print(asked[i].name); print(": "); answer(asked[i].which, asked[i].a, asked[i].b, asked[i].c);
    }
}
static word command(char **words, int count) {
    const char *name = words[0];
    if (same(name, "echo")) { for (int i = 1; i < count; i++) { if (i > 1) print(" "); print(words[i]); } print("\n"); return 0; }
    if (same(name, "mkdir")) { word made = call2(MKDIR, words[1], 0755); return made == -17 ? 0 : made; }
    if (same(name, "cat")) { word bad = 0; for (int i = 1; i < count; i++) bad |= copy(words[i]); return bad; }
    if (same(name, "env")) { for (char **each = variables; *each; each++) { print(*each); print("\n"); } return 0; }
    if (same(name, "exit")) call1(EXIT, count > 1 ? value(words[1]) : 0);
    if (same(name, "fail")) { put(2, "it failed\n"); call1(EXIT, 1); }
    if (same(name, "sleep")) { word span[2] = {value(words[1]), 0}; return call2(NANOSLEEP, span, 0); }
    if (same(name, "put")) return save(words, count, 01 | 0100 | 01000);
    if (same(name, "append")) return save(words, count, 01 | 0100 | 02000);
    if (same(name, "ls")) return list(words[1], 0);
    if (same(name, "open")) return list("/proc/self/fd", 1);
    if (same(name, "where")) { where(); return 0; }
    if (same(name, "limits")) { limits(); return 0; }
    if (same(name, "try")) { for (int i = 1; i < count; i++) attempt(words[i]); return 0; }
    if (same(name, "calls")) { calls(); return 0; }
    if (same(name, "special")) { special(); return 0; }
    if (same(name, "true") || same(name, "set")) return 0;
    put(2, name); put(2, ": not found\n");
    call1(EXIT, 127);
    return 0;
}
static void script(char *text) {
    char *words[64];
    int count = 0, end = 0;
    while (!end) {
        while (*text == ' ') text++;
        if (*text == '#') while (*text && *text != '\n') text++;
        if (*text == '\n' || *text == ';' || !*text) {
            end = !*text++;
            words[count] = 0;
            if (count && command(words, count) < 0) call1(EXIT, 1);
            count = 0;
            continue;
        }
        char stop = *text == '\'' ? '\'' : ' ';
        if (stop == '\'') text++;
        if (count < 63) words[count++] = text;
        while (*text && *text != stop && (stop == '\'' || (*text != '\n' && *text != ';'))) text++;
        char found = *text;
        *text = 0;
        if (found == stop) text++;
        else if (found) { /* the end of a line is also the end of a word */
            words[count] = 0;
            if (command(words, count) < 0) call1(EXIT, 1);
            count = 0;
            text++;
        } else end = 1;
    }
    words[count] = 0;
    if (count && command(words, count) < 0) call1(EXIT, 1);
}
__attribute__((used)) static void begin(word *stack) {
    word count = stack[0];
    char **arguments = (char **)(stack + 1);
    variables = arguments + count + 1;
    if (count > 2) script(arguments[2]);
    else if (count > 1) {
        word file = call3(OPEN, arguments[1], 0, 0);
        static char text[65536];
        if (file < 0 || call3(READ, file, text, sizeof text - 1) < 0) call1(EXIT, 127);
        script(text);
    }
    call1(EXIT, 0);
}
__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
