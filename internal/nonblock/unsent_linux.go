package nonblock

// notSentLowat is TCP_NOTSENT_LOWAT, which package syscall lacks (tcp(7)).
const notSentLowat = 0x19
