//! Queries on the wire: headers of pages, rows of every shape, what is sent again, and hubs that would
//! keep a client busy for ever.

use std::error::Error as _;

use futures_util::TryStreamExt as _;
use iothub_rest_service::{Error, ErrorKind, ItemType, Rows};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::script::{Reply, SOON, Server, reply};

const QUERY: &str = "SELECT deviceId FROM devices";

/// A page of raw rows; `next` leads on.
fn page(rows: &Value, next: Option<&str>) -> Reply {
    page_of("Raw", rows, next)
}

fn page_of(item_type: &str, rows: &Value, next: Option<&str>) -> Reply {
    let mut headers = vec![
        "Content-Type: application/json; charset=utf-8".to_owned(),
        format!("x-ms-item-type: {item_type}"),
    ];
    headers.extend(next.map(|token| format!("x-ms-continuation: {token}")));
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    reply(200, &headers, &rows.to_string())
}

async fn all<T>(rows: Rows<T>) -> Result<Vec<T>, Error> {
    tokio::time::timeout(SOON, rows.try_collect()).await.expect("the rows do not end")
}

#[tokio::test]
async fn rows_come_page_by_page_with_the_continuation_hidden() {
    let server = Server::start([
        page(&json!([{"deviceId": "a"}, {"deviceId": "b"}]), Some("{\"token\":\"+RID:~1/=\"}")),
        page(&json!([]), Some("2")),
        page(&json!([{"deviceId": "c"}]), None),
    ])
    .await;
    let rows = all(server.client().query(QUERY).page_size(2).rows()).await.unwrap();
    assert_eq!(rows, [json!({"deviceId": "a"}), json!({"deviceId": "b"}), json!({"deviceId": "c"})]);
    for token in [None, Some("{\"token\":\"+RID:~1/=\"}"), Some("2")] {
        let request = server.request().await;
        assert_eq!(request.line(), "POST /devices/query?api-version=2021-04-12 HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(request.header("x-ms-max-item-count"), Some("2"));
        assert_eq!(request.header("x-ms-continuation"), token);
        assert_eq!(request.body, r#"{"query":"SELECT deviceId FROM devices"}"#);
    }
}

#[tokio::test]
async fn the_next_page_is_asked_for_when_it_is_needed_and_not_before() {
    let server =
        Server::start([page(&json!([1, 2]), Some("2")), page(&json!([3]), None), Reply::Silence]).await;
    let mut rows = server.client().query(QUERY).rows();
    assert_eq!(server.further_requests().await, 0);
    assert_eq!(rows.next().await.unwrap().unwrap(), 1);
    assert_eq!(rows.next().await.unwrap().unwrap(), 2);
    assert_eq!(server.further_requests().await, 1);
    assert_eq!(rows.next().await.unwrap().unwrap(), 3);
    assert!(rows.next().await.is_none() && rows.next().await.is_none());
    assert_eq!(server.further_requests().await, 2);
}

#[tokio::test]
async fn a_wait_for_a_row_that_is_given_up_loses_no_row() {
    let server = Server::start([page(&json!([1]), Some("2")), page(&json!([2]), None)]).await;
    let mut rows = server.client().query(QUERY).rows();
    let mut seen = Vec::new();
    tokio::time::timeout(SOON, async {
        loop {
            // Each wait is given up after its second poll, wherever the call is then.
            let row = tokio::select! {
                biased;
                row = rows.next() => row,
                () = tokio::task::yield_now() => continue,
            };
            match row {
                Some(row) => seen.push(row.unwrap()),
                None => break,
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(seen, [1, 2]);
    assert_eq!(server.further_requests().await, 2);
}

#[tokio::test]
async fn pages_are_there_for_those_who_want_them() {
    let server =
        Server::start([page(&json!([{"n": 1}]), Some("t1")), page_of("somethingNew", &json!([]), Some(""))])
            .await;
    #[derive(Deserialize)]
    struct Counted {
        n: u32,
    }
    let query = server.client().query_as::<Counted>("SELECT COUNT() AS n FROM devices");
    let first = query.page(None).await.unwrap();
    assert_eq!((first.rows[0].n, first.item_type), (1, Some(ItemType::Raw)));
    assert_eq!(first.continuation.as_deref(), Some("t1"));
    let last = query.page(first.continuation.as_deref()).await.unwrap();
    assert_eq!((last.rows.len(), last.continuation, last.item_type), (0, None, None));
    assert_eq!(server.request().await.header("x-ms-max-item-count"), None);
    assert_eq!(server.request().await.header("x-ms-continuation"), Some("t1"));
}

#[tokio::test]
async fn twins_are_read_as_twins_and_parts_of_twins_are_not() {
    let twin = json!({"deviceId": "d1", "moduleId": "cam", "etag": "AAAAAAAAAAE=", "modelId": "dtmi:com:example:Thermostat;1",
        "properties": {"desired": {"$version": 1}, "reported": {"connectivity": "cellular", "$version": 2}}});
    let twins = json!([twin]);
    let server = Server::start([
        page_of("Twin", &twins, None),
        page_of("twin", &twins, None),
        reply(200, &[], &twins.to_string()),
        page_of("Raw", &twins, None),
    ])
    .await;
    let query = server.client().query_twins("SELECT * FROM devices.modules");
    for _ in 0..3 {
        let page = query.page(None).await.unwrap();
        assert_eq!(page.rows[0].module_id.as_ref().unwrap().as_str(), "cam");
        assert_eq!(page.rows[0].properties.reported.properties["connectivity"], "cellular");
        assert_eq!(page.rows[0].model_id, "dtmi:com:example:Thermostat;1");
    }
    let error = all(query.rows()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("its rows are Raw, not Twin"), "{error}");
}

#[tokio::test]
async fn a_query_only_reads_so_it_is_sent_again() {
    let server = Server::start([
        reply(503, &["iothub-errorcode: ServerBusy"], ""),
        Reply::SendAndClose(Vec::new()),
        reply(429, &[], ""),
        page(&json!([1]), Some("2")),
        reply(500, &[], ""),
        page(&json!([2]), None),
    ])
    .await;
    assert_eq!(all(server.client().query(QUERY).rows()).await.unwrap(), [1, 2]);
    assert_eq!(server.further_requests().await, 6);
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_told_in_the_hub_s_words_and_ends_the_rows() {
    let body = r#"{"Message":"ErrorCode:ArgumentInvalid;expected FROM at line 1, column 10","ExceptionMessage":"Tracking ID:01-G:1-TimeStamp:11/21/2026 00:00:00"}"#;
    let server = Server::start([reply(400, &["iothub-errorcode: ArgumentInvalid"], body)]).await;
    let long = format!("SELECT * FRM devices WHERE tags.a = '\u{e9}\u{1b}{}'", "x".repeat(500));
    let mut rows = server.client().query(long).rows();
    let error = rows.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.starts_with("could not query \"SELECT * FRM devices") && text.len() < 200, "{text}");
    assert!(!text.contains('\u{1b}'));
    assert!(error.source().unwrap().to_string().contains("expected FROM at line 1, column 10"));
    assert!(rows.next().await.is_none());
    assert_eq!(server.further_requests().await, 1);
}

#[tokio::test]
async fn rows_of_another_type_are_the_caller_s_mistake_and_no_rows_at_all_are_the_hub_s() {
    #[derive(Debug, Deserialize)]
    struct Row {
        #[expect(dead_code, reason = "only the type counts")]
        plant: String,
    }
    let server = Server::start([
        page(&json!([{"plant": "a"}, {"plnt": "b"}]), None),
        page(&json!({"deviceId": "a"}), None),
        reply(200, &[], "<html>"),
        reply(200, &[], ""),
    ])
    .await;
    let query = server.client().query_as::<Row>(QUERY);
    let error = query.page(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("Row: compare it with what the query selects"), "{error}");
    assert!(error.source().unwrap().to_string().contains("missing field `plant`"));
    for _ in 0..3 {
        assert_eq!(query.page(None).await.unwrap_err().kind(), ErrorKind::Protocol);
    }
}

#[tokio::test]
async fn pages_that_lead_round_in_circles_come_to_an_end() {
    // The same token again and again; two in turn; and a circle after some good pages.
    for tokens in [&["a"][..], &["a", "b"], &["c", "d", "e", "f", "a", "b"]] {
        let circle = &tokens[tokens.len().saturating_sub(2)..];
        let endless = tokens.iter().chain(circle.iter().cycle()).take(200);
        let server = Server::start(endless.map(|token| page(&json!([1]), Some(token)))).await;
        let error = all(server.client().query(QUERY).rows()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("would never end"), "{error}");
        assert!(server.further_requests().await <= 3 * (tokens.len() + 1), "{tokens:?}");
    }
}

#[tokio::test]
async fn a_continuation_that_cannot_travel_is_refused_in_both_directions() {
    let server = Server::start([Reply::Send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-ms-continuation: caf\xe9\r\n\r\n[]".to_vec(),
    )])
    .await;
    let query = server.client().query(QUERY);
    let error = query.page(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    for token in ["", "a\r\nHost: b", "caf\u{e9}", &"x".repeat(20_000)] {
        assert_eq!(query.page(Some(token)).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    for rows in [0, 1001] {
        let query = server.client().query(QUERY).page_size(rows);
        assert_eq!(query.page(None).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(server.further_requests().await, 1);
}

#[tokio::test]
async fn a_page_may_be_larger_than_other_answers_and_is_bounded_all_the_same() {
    let megabyte = "x".repeat(1 << 20);
    let large = reply(200, &["x-ms-item-type: Raw"], &json!(vec![&megabyte; 9]).to_string());
    let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65 {
        endless.extend_from_slice(format!("100000\r\n{megabyte}\r\n").as_bytes());
    }
    let server = Server::start([large, Reply::Send(endless)]).await;
    let query = server.client().query(QUERY);
    assert_eq!(query.page(None).await.unwrap().rows.len(), 9);
    let error = query.page(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("Ask for fewer at once"), "{error}");
}
