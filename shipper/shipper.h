/* tcpdiag-shipper(8): drains the collectors' rings and delivers what was in them. */
#ifndef SHIPPER_SHIPPER_H
#define SHIPPER_SHIPPER_H

/* All of it; returns the exit code. */
int	shipper_main(int argc, char **argv);

#endif
