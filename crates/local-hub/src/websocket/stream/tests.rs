//! These tests speak WebSocket with the hub's end over a stream in memory, byte by byte.

use std::time::Duration;

use futures_util::poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

fn pair(size: usize) -> (DuplexStream, WebSocket<DuplexStream>) {
    let (client, server) = duplex(size);
    (client, WebSocket::new(server))
}

/// Returns a short frame of a client; its mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

async fn expect(client: &mut DuplexStream, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    client.read_exact(&mut found).await.unwrap();
    assert_eq!(found, bytes);
}

#[tokio::test]
async fn one_write_is_one_frame_also_where_the_client_takes_it_in_pieces() {
    let (mut client, mut socket) = pair(7);
    let writing = tokio::spawn(async move {
        socket.write_all(&[b'a'; 300]).await.unwrap();
        socket.write_all(b"b").await.unwrap();
        socket.flush().await.unwrap();
        socket
    });
    expect(&mut client, b"\x82\x7e\x01\x2c").await;
    expect(&mut client, &[b'a'; 300]).await;
    expect(&mut client, b"\x82\x01b").await;
    writing.await.unwrap();
}

#[tokio::test]
async fn a_reader_of_single_bytes_gets_the_stream() {
    let (mut client, mut socket) = pair(64);
    client.write_all(&[frame(0x82, b"a"), frame(0x02, b""), frame(0x80, b"bc")].concat()).await.unwrap();
    for byte in *b"abc" {
        assert_eq!(socket.read_u8().await.unwrap(), byte);
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_nothing_is_read_and_between_frames_only() {
    let (mut client, mut socket) = pair(64);
    client.write_all(&frame(0x89, b"hi")).await.unwrap();
    assert!(poll!(Box::pin(socket.read_u8())).is_pending());
    expect(&mut client, b"\x8a\x02hi").await;

    // The client does not read, and a frame is stuck in its middle.
    let mut sending = Box::pin(socket.write_all(&[b'x'; 100]));
    assert!(poll!(&mut sending).is_pending());
    drop(sending);
    client.write_all(&frame(0x89, b"hi")).await.unwrap();
    assert!(poll!(Box::pin(socket.read_u8())).is_pending());
    let rest = async {
        // As much as did not fit into the pipe, behind a header of two bytes.
        socket.write_all(&[b'x'; 100 - 62]).await.unwrap();
        socket.flush().await.unwrap();
    };
    let ((), ()) = tokio::join!(rest, async {
        expect(&mut client, b"\x82\x64").await;
        expect(&mut client, &[b'x'; 100]).await;
        expect(&mut client, b"\x8a\x02hi").await;
    });
}

#[tokio::test]
async fn a_client_that_closes_is_answered_with_its_code() {
    for (said, answer) in [(&b"\x0f\xa0why"[..], &b"\x88\x02\x0f\xa0"[..]), (b"", b"\x88\x00")] {
        let (mut client, mut socket) = pair(64);
        client.write_all(&[frame(0x82, b"bye"), frame(0x88, said)].concat()).await.unwrap();
        let mut read = Vec::new();
        socket.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"bye");
        expect(&mut client, answer).await;
        let refused = socket.write_all(b"more").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        socket.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn the_hub_closes_and_reads_on_until_the_client_has_answered() {
    let (mut client, mut socket) = pair(64);
    socket.write_all(b"last").await.unwrap();
    socket.shutdown().await.unwrap();
    expect(&mut client, b"\x82\x04last\x88\x02\x03\xe8").await;
    client
        .write_all(&[frame(0x82, b"crossing"), frame(0x89, b""), frame(0x88, b"\x03\xe8")].concat())
        .await
        .unwrap();
    let mut read = Vec::new();
    socket.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"crossing");
    // Nothing follows a close frame.
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_breach_is_told_on_both_sides() {
    let (mut client, mut socket) = pair(128 * 1024);
    client.write_all(&[&frame(0x82, b"good")[..], b"\x82\x01x"].concat()).await.unwrap();
    let mut read = Vec::new();
    let error = socket.read_to_end(&mut read).await.unwrap_err();
    assert!(super::super::is_fault(&error) && error.to_string().contains("not masked"), "{error}");
    assert_eq!(read, b"good");
    expect(&mut client, b"\x88\x02\x03\xea").await;
    assert!(socket.read_u8().await.is_err(), "it stays broken");
    // What it sends after that is read and dropped, up to a bound, so that it can read the code.
    client.write_all(&[0; 100_000]).await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(socket.read(&mut [0; 1024]).await.unwrap(), 0);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn who_speaks_too_early_is_told_so() {
    let (mut client, server) = duplex(64);
    let mut socket = WebSocket::refused(server, Fault::Early);
    assert!(socket.read_u8().await.unwrap_err().to_string().contains("wait for the status 101"));
    expect(&mut client, b"\x88\x02\x03\xea").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_close_frame_is_waited_for_and_an_end_without_one_is_an_end() {
    let (mut client, mut socket) = pair(8);
    // The pipe is full of a frame when the client closes.
    socket.write_all(b"123456").await.unwrap();
    client.write_all(&frame(0x88, b"\x03\xe8")).await.unwrap();
    let closing = tokio::time::timeout(Duration::from_secs(1), socket.read_u8());
    assert!(closing.await.is_err());
    expect(&mut client, b"\x82\x06123456").await;
    assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    expect(&mut client, b"\x88\x02\x03\xe8").await;

    let (client, mut socket) = pair(8);
    drop(client);
    assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
