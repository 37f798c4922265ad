/* Tests of the uacce backend's C without Python, so that they also run on a processor that only an emulator has here.
 *
 * Build it with the backend's native/ folder in the include path, and run it; it prints what it checked, and its exit status
 * is 1 if something failed. The argument "emulated" leaves out what is Linux's doing and not ours. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.c"
#include "mapping.c"
#include "region.c"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int failures, checks;

#define CHECK(condition)                                                      \
    do {                                                                      \
        checks++;                                                             \
        if (!(condition)) {                                                   \
            failures++;                                                       \
            printf("FAILED %s:%d: %s\n", __func__, __LINE__, #condition);     \
        }                                                                     \
    } while (0)

enum { DEPTH = 8, ENTRY = 32, CQ = DEPTH * ENTRY };

static size_t page;

static int new_file(size_t nbytes)
{
    int file = memfd_create("region", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)nbytes))
        abort();
    return file;
}

static wdu_region new_region(int file, size_t nbytes)
{
    intptr_t address = wdu_map(file, nbytes, 0);
    if (address < 0)
        abort();
    return (wdu_region){(uintptr_t)address, nbytes, WDU_MAPPED};
}

static void test_words(void)
{
    wdu_region region = new_region(new_file(page), page);
    uint8_t *bytes = (uint8_t *)region.address;
    CHECK(!wdu_store64(&region, 8, 0x0123456789abcdef));
    CHECK(bytes[8] == 0xef && bytes[15] == 0x01);
    CHECK(!wdu_store32(&region, page - 4, 0xdeadbeef));
    CHECK(wdu_load32(&region, page - 4) == 0xdeadbeef);
    CHECK(wdu_load64(&region, 8) == 0x0123456789abcdef);
    CHECK(!wdu_write(&region, 101, "abc", 3));
    char copy[5];
    CHECK(!wdu_read(&region, 100, copy, 5) && !memcmp(copy, "\0abc\0", 5));
    wdu_fence();
}

/* What a device does with the ring: the entry's body, then its phase. */
static void post(wdu_region *region, uint32_t at, uint16_t slot, uint16_t phase)
{
    char *cqe = (char *)region->address + CQ + at * 16;
    memcpy(cqe + 8, &slot, 2);
    __atomic_store_n((uint16_t *)(cqe + 14), phase, __ATOMIC_RELEASE);
}

static void test_rings(void)
{
    wdu_region region = new_region(new_file(page), page);
    char entries[3 * ENTRY], copies[DEPTH * ENTRY];
    uint64_t words[DEPTH];
    for (int i = 0; i < 3; i++)
        memset(entries + i * ENTRY, 'a' + i, ENTRY);
    CHECK(!wdu_ring_put(&region, DEPTH, ENTRY, 6, entries, 3)); /* round the end */
    const char *sq = (const char *)region.address;
    CHECK(sq[6 * ENTRY] == 'a' && sq[7 * ENTRY] == 'b' && sq[0] == 'c' && sq[ENTRY] == 0);
    CHECK(wdu_ring_waiting(&region, CQ, 6, 1) == 0);
    post(&region, 6, 7, 1);
    post(&region, 7, 6, 1);
    post(&region, 0, 0, 0); /* the next lap */
    post(&region, 1, 0xffff, 0);
    CHECK(wdu_ring_waiting(&region, CQ, 6, 1) == 1);
    CHECK(wdu_ring_waiting(&region, CQ, 6, 0) == 0);
    CHECK(wdu_ring_reap(&region, CQ, DEPTH, 6, 1, 1, DEPTH, ENTRY, words, copies) == 1);
    memset(copies, 'x', sizeof copies);
    CHECK(wdu_ring_reap(&region, CQ, DEPTH, 6, 1, 4, DEPTH, ENTRY, words, copies) == 4);
    CHECK((words[0] & 0xffff) == 7 && (words[1] & 0xffff) == 6 && (words[2] & 0xffff) == 0);
    CHECK(copies[0] == 'b' && copies[ENTRY] == 'a' && copies[2 * ENTRY] == 'c');
    CHECK(copies[3 * ENTRY] == 'x'); /* no such slot */
}

/* A device that posts 10,000 completions, in a thread: none may be seen before its body. */
enum { LAPS = 10000 };
static wdu_region shared;
static uint32_t taken;

static void *device(void *nothing)
{
    for (uint32_t i = 0; i < LAPS; i++) {
        while (i - __atomic_load_n(&taken, __ATOMIC_ACQUIRE) >= DEPTH)
            sched_yield();
        memset((char *)shared.address + i % DEPTH * ENTRY, (int)(i % 251), ENTRY);
        post(&shared, i % DEPTH, (uint16_t)(i % DEPTH), (i / DEPTH + 1) % 2);
    }
    return nothing;
}

static void test_order(void)
{
    shared = new_region(new_file(page), page);
    pthread_t thread;
    pthread_create(&thread, NULL, device, NULL);
    uint64_t words[DEPTH];
    char copies[DEPTH * ENTRY];
    uint32_t seen = 0, wrong = 0;
    while (seen < LAPS) {
        int64_t count = wdu_ring_reap(&shared, CQ, DEPTH, seen % DEPTH, (seen / DEPTH + 1) % 2, DEPTH, DEPTH, ENTRY,
                                      words, copies);
        if (!count)
            sched_yield();
        for (int64_t i = 0; i < count; i++, seen++)
            wrong += (words[i] & 0xffff) != seen % DEPTH || (uint8_t)copies[i * ENTRY] != seen % 251 ||
                     (uint8_t)copies[i * ENTRY + ENTRY - 1] != seen % 251;
        __atomic_store_n(&taken, seen, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    CHECK(!wrong);
}

/* A thread that publishes a word of two equal halves. */
static void *writer(void *nothing)
{
    for (uint64_t i = 1; i <= LAPS; i++)
        wdu_store64(&shared, 0, i << 32 | i);
    return nothing;
}

static void test_no_torn_word(void)
{
    shared = new_region(new_file(page), page);
    pthread_t thread;
    pthread_create(&thread, NULL, writer, NULL);
    uint64_t word;
    uint32_t torn = 0;
    do {
        word = wdu_load64(&shared, 0);
        torn += (uint32_t)word != word >> 32;
    } while ((uint32_t)word != LAPS);
    pthread_join(thread, NULL);
    CHECK(!torn);
}

static void test_gone(void)
{
    int file = new_file(page);
    char copy[16] = {0};
    uint64_t words[4];
    for (int i = 0; i < 9; i++) {
        wdu_region region = new_region(file, page);
        CHECK(wdu_load64(&region, 0) == 0 && region.state == WDU_MAPPED);
        CHECK(!ftruncate(file, 0));
        switch (i) {
        case 0: CHECK(wdu_load32(&region, 0) == UINT32_MAX); break;
        case 1: CHECK(wdu_load64(&region, 0) == UINT64_MAX); break;
        case 2: CHECK(wdu_store32(&region, 0, 1) == -1); break;
        case 3: CHECK(wdu_store64(&region, 0, 1) == -1); break;
        case 4: CHECK(wdu_read(&region, 0, copy, 8) == -1); break;
        case 5: CHECK(wdu_write(&region, 0, copy, 8) == -1); break;
        case 6: CHECK(wdu_ring_put(&region, DEPTH, 8, 0, copy, 2) == -1); break;
        case 7: CHECK(wdu_ring_waiting(&region, CQ, 0, 1) == -1); break;
        case 8: CHECK(wdu_ring_reap(&region, CQ, 4, 0, 1, 4, DEPTH, 4, words, copy) == -1); break;
        }
        CHECK(region.state == WDU_GONE);
        CHECK(!ftruncate(file, (off_t)page));
        CHECK(wdu_load32(&region, 0) == UINT32_MAX); /* gone is gone */
        CHECK(!wdu_unmap(region.address, page));
    }
}

static void *in_a_thread(void *file)
{
    wdu_region region = new_region(*(int *)file, page);
    for (int i = 0; i < 100; i++) {
        region.state = WDU_MAPPED;
        if (wdu_load64(&region, 0) != UINT64_MAX || region.state != WDU_GONE)
            return file;
    }
    return NULL;
}

static void test_threads_have_their_own_guards(void)
{
    int file = new_file(0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, in_a_thread, &file);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        CHECK(!failed);
    }
}

static void test_signals_are_not_blocked_afterwards(void)
{
    wdu_region region = new_region(new_file(0), page);
    CHECK(wdu_load32(&region, 0) == UINT32_MAX);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    CHECK(!sigismember(&mask, SIGBUS));
}

/* Python's faulthandler, and others, give threads another stack for handlers: the leap is from that one to ours. */
static void test_another_stack_for_handlers(void)
{
    stack_t other = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16}, none = {.ss_flags = SS_DISABLE}, found;
    CHECK(!sigaltstack(&other, NULL));
    wdu_region region = new_region(new_file(0), page);
    for (int i = 0; i < 3; i++) {
        region.state = WDU_MAPPED;
        CHECK(wdu_load32(&region, 0) == UINT32_MAX);
    }
    CHECK(!sigaltstack(NULL, &found) && !(found.ss_flags & SS_ONSTACK));
    sigaltstack(&none, NULL);
    free(other.ss_sp);
}

static void test_copy(void)
{
    char *from = (char *)new_region(new_file(3 * page), 3 * page).address;
    char *to = malloc(3 * page);
    memset(from, 'f', 3 * page);
    CHECK(wdu_copy(to, from, 3 * page) == 3 * page && to[3 * page - 1] == 'f');
    CHECK(wdu_copy(to, from, 0) == 0);
    int file = new_file(3 * page);
    char *cut = (char *)new_region(file, 3 * page).address;
    memset(cut, 'c', 3 * page);
    CHECK(!ftruncate(file, (off_t)page));
    CHECK(wdu_copy(to, cut, 3 * page) == page && to[0] == 'c' && to[page - 1] == 'c');
    CHECK(wdu_copy(to, cut + 10, 2 * page) == page - 10);
    CHECK(wdu_copy(to, cut + page, 10) == 0);
    CHECK(wdu_copy(cut + 10, from, 2 * page) == page - 10 && cut[10] == 'f');
    free(to);
}

static void test_kept(void)
{
    int file = new_file(2 * page);
    wdu_region region = new_region(file, 2 * page);
    volatile char *bytes = (volatile char *)region.address;
    bytes[0] = bytes[page] = 'k';
    CHECK(!wdu_guard_keep(&region));
    CHECK(!ftruncate(file, 0));
    errno = 7;
    CHECK(bytes[page] == 0 && region.state == WDU_GONE && errno == 7);
    bytes[0] = 'z';
    CHECK(bytes[0] == 'z' && bytes[1] == 0);
    wdu_guard_drop(&region);
    wdu_region other = new_region(new_file(page), page);
    *(volatile char *)other.address = 'o';
    CHECK(!wdu_vacate(other.address, page) && *(volatile char *)other.address == 0);
}

static void test_only_so_many_are_kept(void)
{
    static wdu_region regions[KEPT + 1];
    for (int i = 0; i < KEPT; i++)
        CHECK(!wdu_guard_keep(&regions[i]));
    CHECK(wdu_guard_keep(&regions[KEPT]) == ENOSPC);
    for (int i = 0; i < KEPT; i++)
        wdu_guard_drop(&regions[i]);
    CHECK(!wdu_guard_keep(&regions[KEPT]));
    wdu_guard_drop(&regions[KEPT]);
}

static void test_a_mapping_is_no_child_s(void)
{
    wdu_region region = new_region(new_file(page), page);
    pid_t child = fork();
    if (!child) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile char *)region.address);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void test_errors_of_mapping(void)
{
    CHECK(wdu_map(-1, page, 0) == -EBADF);
    CHECK(wdu_map(0, 0, 0) == -EINVAL || wdu_map(0, 0, 0) == -ENODEV);
    CHECK(wdu_unmap(1, page) == -EINVAL);
    CHECK(wdu_vacate(1, page) == -EINVAL);
}

/* -- handlers of others: each in a child, as it may end -------------------------------------------------------- */

static int ends(void (*work)(void))
{
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        work();
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void touch_nothing(void)
{
    *(volatile char *)new_region(new_file(0), page).address = 1;
}

static void foreign_fault(void)
{
    wdu_guard_install();
    touch_nothing();
}

static void foreign_signal(void)
{
    wdu_guard_install();
    raise(SIGBUS);
}

static void theirs(int number)
{
    (void)number;
    _exit(33);
}

static void below(void)
{
    signal(SIGBUS, theirs);
    wdu_guard_install();
    touch_nothing();
}

static void above(void)
{
    wdu_guard_install();
    signal(SIGBUS, theirs);
    wdu_guard_install();
    wdu_region region = new_region(new_file(0), page);
    if (wdu_load32(&region, 0) != UINT32_MAX)
        _exit(1);
    touch_nothing();
}

static void ignored_signal(void)
{
    signal(SIGBUS, SIG_IGN);
    wdu_guard_install();
    raise(SIGBUS);
    _exit(44);
}

static void ignored_fault(void)
{
    signal(SIGBUS, SIG_IGN);
    wdu_guard_install();
    touch_nothing();
}

static void does_nothing(int number)
{
    (void)number;
}

static void mends_nothing(void)
{
    signal(SIGBUS, does_nothing);
    wdu_guard_install();
    touch_nothing();
}

static sigjmp_buf away;

static void leaps_away(int number)
{
    (void)number;
    siglongjmp(away, 1);
}

/* Another guard below ours, as that of another backend, goes on working, any number of times. */
static void another_guard(void)
{
    signal(SIGBUS, leaps_away);
    wdu_guard_install();
    volatile char *nothing = (volatile char *)new_region(new_file(0), page).address;
    for (volatile int i = 0; i < 3 * PATIENCE; i++)
        if (!sigsetjmp(away, 1)) {
            *nothing = 1;
            _exit(1);
        }
    wdu_region region = new_region(new_file(0), page);
    _exit(wdu_load32(&region, 0) == UINT32_MAX ? 55 : 1);
}

/* As Python's faulthandler: says its piece, puts back what was before it, and sends the signal again. */
static struct sigaction was;

static void last_words(int number)
{
    sigaction(SIGBUS, &was, NULL);
    raise(number);
}

static void faulthandler_above(void)
{
    wdu_guard_install();
    struct sigaction its = {.sa_handler = last_words, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &its, &was);
    wdu_guard_install();
    wdu_region region = new_region(new_file(0), page);
    if (wdu_load32(&region, 0) != UINT32_MAX)
        _exit(1);
    touch_nothing();
}

static void faulthandler_above_unnoticed(void)
{
    wdu_guard_install();
    struct sigaction its = {.sa_handler = last_words, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &its, &was);
    wdu_region region = new_region(new_file(0), page);
    _exit(wdu_load32(&region, 0) == UINT32_MAX ? 66 : 1);
}

static void test_handlers_of_others(void)
{
    CHECK(ends(foreign_fault) == -SIGBUS);
    CHECK(ends(foreign_signal) == -SIGBUS);
    CHECK(ends(below) == 33);
    CHECK(ends(above) == 33);
    CHECK(ends(ignored_signal) == 44);
    CHECK(ends(ignored_fault) == -SIGBUS);
    CHECK(ends(mends_nothing) == -SIGBUS);
    CHECK(ends(another_guard) == 55);
    CHECK(ends(faulthandler_above) == -SIGBUS);
    CHECK(ends(faulthandler_above_unnoticed) == 66);
}

int main(int count, char **arguments)
{
    bool emulated = count > 1 && !strcmp(arguments[1], "emulated");
    page = (size_t)sysconf(_SC_PAGESIZE);
    test_handlers_of_others(); /* before ours is installed here */
    CHECK(!wdu_guard_install() && !wdu_guard_install());
    test_words();
    test_rings();
    test_order();
    test_no_torn_word();
    test_gone();
    test_threads_have_their_own_guards();
    test_signals_are_not_blocked_afterwards();
    test_another_stack_for_handlers();
    test_copy();
    test_kept();
    test_only_so_many_are_kept();
    if (!emulated) /* qemu-user takes all advice about memory, and heeds none */
        test_a_mapping_is_no_child_s();
    test_errors_of_mapping();
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
