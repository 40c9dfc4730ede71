/* Faults of system calls, for tests: loaded before the C library (LD_PRELOAD), so that what Python and
 * SQLite ask of the file system comes by here.
 *
 * Below one folder each call that changes files is a numbered call, which can be made to fail, and
 * two moments, before and after it, at which a signal can be sent to the process itself.  Further
 * moments are told by the process (faults_moment).  Each moment is a line of a trace, written before
 * the signal.  Calls and moments of the main thread and of all others are numbered apart: the first
 * are the same in every run.
 *
 * Not seen: what goes by mmap (the index of SQLite's write-ahead log) and by io_uring.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { ONCE, FROM_THEN_ON, SHORT };

static char root[PATH_MAX], stage[32] = "begin";
static size_t length;
static int trace = -1, signal_sent, error, how;
static pid_t main_thread;
static long shift; /* seconds by which the clock of the wall is wrong */
static long signal_at[2], fail_at[2]; /* of the main thread, of the others; 0: never */
static atomic_long moments[2], calls[2];

#define REAL(name) \
    ({ \
        static __typeof__(&name) real; \
        if (!real) \
            real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real; \
    })

static int other(void) { return syscall(SYS_gettid) != main_thread; }

/* Say that a moment has come: "number others stage what path", and die of it if it is the one. */
static void moment(const char *what, const char *path)
{
    if (trace < 0)
        return;
    int who = other(), before = errno;
    long number = atomic_fetch_add(&moments[who], 1) + 1;
    char line[PATH_MAX + 128];
    int size = snprintf(line, sizeof line, "%ld %d %s %s %s\n", number, who,
                        who ? "heartbeat" : stage, what, path);
    syscall(SYS_write, trace, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
    if (number == signal_at[who])
        kill(getpid(), signal_sent);
    errno = before;
}

/* Begin to watch a folder.  From here on the process is one that something can go wrong in. */
void faults_watch(const char *folder, const char *file, int number, long at, long at_others)
{
    length = snprintf(root, sizeof root, "%s/", folder);
    main_thread = syscall(SYS_gettid);
    signal_sent = number, signal_at[0] = at, signal_at[1] = at_others;
    trace = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Let a call fail with an error: once, from then on, or be cut short to half. */
void faults_fail(int code, int manner, long at, long at_others)
{
    error = code, how = manner, fail_at[0] = at, fail_at[1] = at_others;
}

void faults_clock(long seconds) { shift = seconds; }
void faults_stage(const char *name) { snprintf(stage, sizeof stage, "%s", name); }
void faults_moment(const char *what) { moment(what, "-"); }

/* Return a path below the folder, without the folder, or NULL. */
static const char *ours(const char *path)
{
    return trace >= 0 && path && !strncmp(path, root, length) ? path + length : NULL;
}

static const char *named(int file, char *name)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = trace < 0 ? -1 : syscall(SYS_readlink, link, name, PATH_MAX - 1);
    if (size < 0)
        return NULL;
    name[size] = 0;
    return size == (ssize_t)length - 1 && !strncmp(name, root, size) ? "." : ours(name);
}

/* Tell whether the disk is full by now, for all threads. */
static int is_full(void)
{
    for (int who = 0; who < 2; who++)
        if (fail_at[who] && atomic_load(&calls[who]) >= fail_at[who])
            return 1;
    return 0;
}

/* Count a call, and tell how it is to go: 0 as it should, else -1 with errno, or SHORT. */
static int begun(const char *what, const char *path, int grows)
{
    char told[64];
    int who = other();
    long number = atomic_fetch_add(&calls[who], 1) + 1;
    snprintf(told, sizeof told, "call-%ld-%s", number, what);
    moment(told, path);
    if (how == FROM_THEN_ON ? !(grows && is_full()) : number != fail_at[who])
        return 0;
    errno = error;
    return how == SHORT ? SHORT : -1;
}

static long ended(const char *what, const char *path, long result)
{
    char told[64];
    snprintf(told, sizeof told, "%s-%s", result < 0 ? "failed" : "did", what);
    moment(told, path);
    return result;
}

#define CALL(what, path, grows, expression) \
    (begun(what, path, grows) ? ended(what, path, -1) : ended(what, path, expression))

#define WRITES(name, what, parameters, done) \
    ssize_t name parameters \
    { \
        char place[PATH_MAX]; \
        const char *path = named(file, place); \
        if (path) { \
            int state = begun(what, path, 1); \
            if (state < 0) \
                return ended(what, path, -1); \
            if (state == SHORT) \
                size /= 2; \
            return ended(what, path, done); \
        } \
        return done; \
    }

WRITES(write, "write", (int file, const void *bytes, size_t size), REAL(write)(file, bytes, size))
WRITES(pwrite, "write", (int file, const void *bytes, size_t size, off_t at),
       REAL(pwrite)(file, bytes, size, at))
WRITES(pwrite64, "write", (int file, const void *bytes, size_t size, off64_t at),
       REAL(pwrite64)(file, bytes, size, at))

#define ON_FILE(name, what, grows, parameters, done) \
    int name parameters \
    { \
        char place[PATH_MAX]; \
        const char *path = named(file, place); \
        return path ? (int)CALL(what, path, grows, done) : done; \
    }

ON_FILE(fsync, "sync", 1, (int file), REAL(fsync)(file))
ON_FILE(fdatasync, "sync", 1, (int file), REAL(fdatasync)(file))
ON_FILE(ftruncate, "truncate", 0, (int file, off_t size), REAL(ftruncate)(file, size))
ON_FILE(ftruncate64, "truncate", 0, (int file, off64_t size), REAL(ftruncate64)(file, size))

#define ON_PATH(name, what, grows, parameters, place, done) \
    int name parameters \
    { \
        const char *path = ours(place); \
        return path ? (int)CALL(what, path, grows, done) : done; \
    }

ON_PATH(rename, "rename", 1, (const char *from, const char *to), to, REAL(rename)(from, to))
ON_PATH(unlink, "unlink", 0, (const char *name), name, REAL(unlink)(name))
ON_PATH(mkdir, "mkdir", 1, (const char *name, mode_t mode), name, REAL(mkdir)(name, mode))

/* Opening is a call of ours where it makes a file. */
static const char *made(const char *name, int flags)
{
    const char *path = flags & O_CREAT ? ours(name) : NULL;
    return path && syscall(SYS_faccessat, AT_FDCWD, name, F_OK) ? path : NULL;
}

#define OPENS(opens, parameters, done) \
    int opens parameters \
    { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        const char *path = made(name, flags); \
        return path ? (int)CALL("create", path, 1, done) : done; \
    }

OPENS(open, (const char *name, int flags, ...), REAL(open)(name, flags, mode))
OPENS(open64, (const char *name, int flags, ...), REAL(open64)(name, flags, mode))
OPENS(openat, (int folder, const char *name, int flags, ...),
      REAL(openat)(folder, name, flags, mode))
OPENS(openat64, (int folder, const char *name, int flags, ...),
      REAL(openat64)(folder, name, flags, mode))

/* The clock of the wall, as wrong as asked; the one that only counts is left alone. */
int clock_gettime(clockid_t clock, struct timespec *found)
{
    int result = REAL(clock_gettime)(clock, found);
    if (!result && clock == CLOCK_REALTIME)
        found->tv_sec += shift;
    return result;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    int result = REAL(gettimeofday)(found, zone);
    if (!result)
        found->tv_sec += shift;
    return result;
}

time_t time(time_t *found)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}
