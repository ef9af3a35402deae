package nonblock

// notSentLowat is TCP_NOTSENT_LOWAT of netinet/tcp.h, which package syscall lacks.
const notSentLowat = 0x201
