/* Letting go of the streams of whoever started the broker. */
#ifndef EMULATOR_BROKER_DETACH_H
#define EMULATOR_BROKER_DETACH_H

/* On Windows a process that inherits no handles has no streams of its creator. Under Wine it still has its Unix file
 * descriptors 0 to 2, and whoever reads the other end of them (a test's pipe) would wait for the broker's end. So there,
 * and only there, they are put on /dev/null. */
void detach_streams(void);

#endif
