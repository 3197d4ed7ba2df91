//! This file opens the frames of a WebSocket to the fuzz targets, and to the tests of `decoder`, which give it other
//! bytes. It exists for them only.

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, join};

use super::WebSocket;
use super::decoder::{CONTROL_BYTES, Decoder, End};

/// Reads bytes as what a client sends after its upgrade, as the rooms do. Any division into reads gives the same
/// payload, and the hub answers with whole control frames, of which a close frame is the last.
pub(crate) fn frames(bytes: &[u8]) {
    let (pieces, bytes) =
        bytes.split_first().map_or((1, bytes), |(first, rest)| (usize::from(*first) + 1, rest));
    let (whole, end) = decoded(bytes, usize::MAX);
    assert_eq!(decoded(bytes, pieces), (whole.clone(), end), "a division changes nothing");

    let mut socket = WebSocket::new(join(bytes, Vec::new()));
    let mut read = Vec::new();
    let result = socket.read_to_end(&mut read).now_or_never();
    assert!(result.is_some(), "nothing is waited for");
    // A reader of a stream that fails has read all that came before.
    assert_eq!(read, whole);
    assert_eq!(result.is_some_and(|result| result.is_err()), matches!(end, Some(End::Fault(_))));
    let (_, mut written) = socket.into_inner().into_inner();
    while let [first, length, ..] = written[..] {
        assert!(matches!(first, 0x88 | 0x8a) && usize::from(length) <= CONTROL_BYTES, "{written:x?}");
        let rest = written.split_off(2 + usize::from(length));
        assert!(first != 0x88 || rest.is_empty(), "nothing follows a close frame");
        written = rest;
    }
    assert!(written.is_empty(), "frames are whole");
}

fn decoded(bytes: &[u8], pieces: usize) -> (Vec<u8>, Option<End>) {
    let mut decoder = Decoder::new(None);
    let mut payload = Vec::new();
    for piece in bytes.chunks(pieces) {
        let mut piece = piece.to_vec();
        let count = decoder.decode(&mut piece);
        payload.extend_from_slice(&piece[..count]);
    }
    (payload, decoder.end())
}
