//! These tests check the rules as pure transitions, in every division of the bytes into reads, and then the bytes
//! that the reader passes on.

use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::*;

/// Follows one connection's bytes in pieces of `step` bytes, and returns the place after them.
fn followed(text: &str, step: usize) -> Result<Place, (usize, &'static str)> {
    let mut check = Check::new();
    for (index, piece) in text.as_bytes().chunks(step).enumerate() {
        check.follow(piece).map_err(|broken| (index * step + broken.at, broken.rule))?;
    }
    Ok(check.place)
}

#[test]
fn what_is_framed_in_one_way_is_followed_to_its_end() {
    for text in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\na\nb\n",
        "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:\tChunked \r\n\r\n2;x=y\r\n\n\n\r\n0A\r\n0123456789\r\n0\r\nt: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\n\nGET / HTTP/1.1\r\nX: 1\r\n\r\n",
    ] {
        for step in 1..=text.len() {
            assert_eq!(followed(text, step), Ok(Place::RequestLine), "{text:?} by {step}");
        }
    }
}

#[test]
fn what_two_readers_may_understand_in_two_ways_is_refused_at_its_place() {
    let both = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (text, at, rule) in [
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", 14, "LF without CR"),
        ("\nGET / HTTP/1.1\r\n\r\n", 0, "LF without CR"),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", 23, "LF without CR"),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", 25, "LF without CR"),
        ("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 24, "CR stands within"),
        ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\r\n", 32, "LF without CR"),
        (both, both.len() - 1, "stand together"),
        ("A / B\r\nContent-Length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n", 44, "Content-Length stands twice"),
        ("A / B\r\nContent-Length: 1, 1\r\n\r\n", 28, "not a number"),
        ("A / B\r\nContent-Length: +1\r\n\r\n", 26, "not a number"),
        ("A / B\r\nContent-Length:\r\n\r\n", 23, "not a number"),
        ("A / B\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 40, "another than chunked"),
        ("A / B\r\nTransfer-Encoding: chunked\r\n\r\n1\n", 38, "LF without CR"),
        ("A / B\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naa\r\n", 43, "longer than its size"),
        ("A / B\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 40, "not a number"),
        ("A / B\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nt: 1\n", 44, "LF without CR"),
    ] {
        for step in 1..=text.len() {
            let (found, why) = followed(text, step).unwrap_err();
            assert_eq!((found, why.contains(rule)), (at, true), "{text:?} by {step}: {why}");
        }
    }
    let long = format!("A / B\r\nContent-Length: {}1\r\n\r\n", " ".repeat(LINE_BYTES));
    assert!(followed(&long, 7).is_err());
    let chunk = |size: &str| format!("A / B\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n");
    let zeros = "0".repeat(LINE_BYTES);
    assert!(followed(&chunk(&format!("{zeros}5")), 7).unwrap_err().1.contains("too long"));
    let extension = format!("5;{zeros}");
    assert_eq!(followed(&chunk(&extension), 7), Ok(Place::Bytes { left: 5, chunked: true }));
}

#[tokio::test]
async fn bytes_before_the_fault_pass_and_nothing_after_it() {
    let bytes: &[u8] = b"GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\nHost: h\r\n\r\n";
    let (mut client, server) = tokio::io::duplex(1024);
    tokio::io::AsyncWriteExt::write_all(&mut client, bytes).await.unwrap();
    let mut passed = Vec::new();
    StrictReader::new(server).read_to_end(&mut passed).await.unwrap();
    assert_eq!(passed, b"GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\0");
}

proptest! {
    /// Bodies hold any bytes here, and the next head is still found.
    #[test]
    fn bodies_of_any_bytes_are_passed_over(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..6),
        step in 1_usize..50,
    ) {
        let mut bytes = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            if index % 2 == 0 {
                bytes.extend(format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            } else {
                bytes.extend(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(7) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        let mut check = Check::new();
        for piece in bytes.chunks(step) {
            prop_assert_eq!(check.follow(piece), Ok(()));
        }
        prop_assert_eq!(check.place, Place::RequestLine);
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in proptest::collection::vec(".{0,60}|[\r\n:0-9a-f]{0,30}", 0..8)) {
        let mut check = Check::new();
        for piece in &pieces {
            if check.follow(piece.as_bytes()).is_err() {
                break;
            }
        }
    }
}
