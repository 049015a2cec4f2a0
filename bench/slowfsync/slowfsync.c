/* Makes each fsync and fdatasync a millisecond slower, as on a disk behind a network. Preloaded into the servers of both sides. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

static void wait_a_millisecond(void) {
	struct timespec left = {0, 1000000};
	while (nanosleep(&left, &left) != 0) {
	}
}

int fsync(int fd) {
	static int (*next)(int);
	if (next == NULL)
		next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	wait_a_millisecond();
	return next(fd);
}

int fdatasync(int fd) {
	static int (*next)(int);
	if (next == NULL)
		next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	wait_a_millisecond();
	return next(fd);
}
