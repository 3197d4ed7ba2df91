//! Scenarios over real sockets: the local hub on free ports, and the clients against it.
