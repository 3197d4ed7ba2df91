//! Queries over HTTPS, asked by a back end that knows nothing of our clients.

use std::collections::BTreeSet;

use iothub_local_hub::{LocalHub, RunningHub};
use iothub_models::TwinPatch;
use reqwest::Method;
use serde_json::{Value, json};

use crate::foreign_http::{ForeignHttp, HttpResponse, exchange};

/// A hub with devices `d000` and on, every third one in Oslo.
async fn hub(devices: usize) -> (RunningHub, ForeignHttp) {
    let hub = LocalHub::builder().start().await.unwrap();
    for number in 0..devices {
        let id = format!("d{number:03}").parse().unwrap();
        hub.create_device(&id).await.unwrap();
        let site = if number % 3 == 0 { "Oslo" } else { "Bern" };
        hub.update_twin(&id, &TwinPatch::new().tag("site", site)).await.unwrap();
    }
    let http = ForeignHttp::new(&hub);
    (hub, http)
}

fn ids(page: &HttpResponse) -> Vec<String> {
    assert_eq!(page.status, 200, "{page:?}");
    let rows = page.body.as_array().unwrap();
    rows.iter().map(|row| row["deviceId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_and_the_last_one_has_no_continuation() {
    let (hub, http) = hub(130).await;
    let text = "SELECT * FROM devices";
    let first = http.query(text, &[]).await;
    assert_eq!((ids(&first).len(), first.item_type.as_deref()), (100, Some("Twin")));
    assert_eq!(first.content_type.as_deref(), Some("application/json; charset=utf-8"));
    let next = first.continuation.clone().unwrap();
    let second = http.query(text, &[("x-ms-continuation", &next)]).await;
    assert_eq!((ids(&second).len(), &second.continuation), (30, &None));
    let all: BTreeSet<_> = ids(&first).into_iter().chain(ids(&second)).collect();
    assert_eq!(all.len(), 130);
    assert_eq!(second.body[29], http.get("/twins/d129").await.body);

    // A page that is just full is the last one; an empty header is none.
    let exact = http.query(text, &[("x-ms-max-item-count", "130"), ("x-ms-continuation", "")]).await;
    assert_eq!((ids(&exact).len(), &exact.continuation), (130, &None));
    let all = http.query(text, &[("x-ms-max-item-count", "1000")]).await;
    assert_eq!(ids(&all).len(), 130);

    let empty = http.query("SELECT * FROM devices WHERE tags.site = 'Rome'", &[]).await;
    assert_eq!(
        (&empty.body, empty.item_type.as_deref(), &empty.continuation),
        (&json!([]), Some("Twin"), &None)
    );
    hub.shutdown().await;
}

#[tokio::test]
async fn each_kind_of_result_says_what_it_is() {
    let (hub, http) = hub(9).await;
    hub.create_module(&"d001".parse().unwrap(), &"cam".parse().unwrap()).await.unwrap();
    for (text, kind, expected) in [
        (
            "SELECT deviceId AS d, tags.site FROM devices WHERE deviceId = 'd001'",
            "Raw",
            json!([{"d": "d001", "site": "Bern"}]),
        ),
        ("SELECT COUNT() AS n FROM devices", "Raw", json!([{"n": 9}])),
        (
            "SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site",
            "Raw",
            json!([{"site": "Oslo", "n": 3}, {"site": "Bern", "n": 6}]),
        ),
        ("SELECT moduleId FROM devices.modules", "Raw", json!([{"moduleId": "cam"}])),
        ("SELECT * FROM devices.jobs", "DeviceJob", json!([])),
        ("SELECT * FROM devices.jobs WHERE devices.jobs.status = 'completed'", "DeviceJob", json!([])),
        (
            "SELECT TOP 2 deviceId FROM devices WHERE tags.site = 'Oslo'",
            "Raw",
            json!([{"deviceId": "d000"}, {"deviceId": "d003"}]),
        ),
    ] {
        let page = http.query(text, &[]).await;
        assert_eq!((&page.body, page.item_type.as_deref()), (&expected, Some(kind)), "{text}");
    }
    let modules = http.query("SELECT * FROM devices.modules", &[]).await;
    assert_eq!(modules.body, json!([http.get("/twins/d001/modules/cam").await.body]));
    // As the official Go client spells it; and with a slash, and as JSON without saying so.
    let spelled = json!({"Query": "SELECT COUNT() AS n FROM devices"}).to_string();
    let request = http.owner(&Method::POST, "/devices/query/?api-version=2021-04-12").body(spelled);
    assert_eq!(exchange(request).await.body, json!([{"n": 9}]));
    // TOP counts over all pages, and so do the groups.
    let text = "SELECT TOP 5 * FROM devices";
    let first = http.query(text, &[("x-ms-max-item-count", "3")]).await;
    let second = http.query(text, &[("x-ms-continuation", first.continuation.as_deref().unwrap())]).await;
    assert_eq!((ids(&first).len(), ids(&second).len(), &second.continuation), (3, 2, &None));
    let text = "SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site";
    let first = http.query(text, &[("x-ms-max-item-count", "1")]).await;
    let second = http.query(text, &[("x-ms-continuation", first.continuation.as_deref().unwrap())]).await;
    assert_eq!(first.body[0]["n"].as_i64().unwrap() + second.body[0]["n"].as_i64().unwrap(), 9);
    assert_eq!(second.continuation, None);
    hub.shutdown().await;
}

#[tokio::test]
async fn a_device_may_be_called_query() {
    let (hub, http) = hub(1).await;
    let created = http.put("/devices/query", None, r#"{"deviceId":"query"}"#).await;
    assert_eq!((created.status.as_u16(), &created.body["deviceId"]), (200, &json!("query")));
    assert_eq!(http.get("/devices/query").await.body["deviceId"], "query");
    let page = http.query("SELECT deviceId FROM devices WHERE deviceId = 'query'", &[]).await;
    assert_eq!(ids(&page), ["query"]);
    assert_eq!(http.delete("/devices/query", None).await.status, 204);
    hub.shutdown().await;
}

#[tokio::test]
async fn what_changes_between_pages_neither_repeats_nor_hides_the_rest() {
    let (hub, http) = hub(12).await;
    let text = "SELECT deviceId FROM devices WHERE tags.site = 'Oslo'";
    let first = http.query(text, &[("x-ms-max-item-count", "2")]).await;
    assert_eq!(ids(&first), ["d000", "d003"]);
    hub.delete_device(&"d000".parse().unwrap()).await.unwrap();
    hub.delete_device(&"d003".parse().unwrap()).await.unwrap();
    for new in ["d0035", "a"] {
        let id = new.parse().unwrap();
        hub.create_device(&id).await.unwrap();
        hub.update_twin(&id, &TwinPatch::new().tag("site", "Oslo")).await.unwrap();
    }
    let second = http.query(text, &[("x-ms-continuation", first.continuation.as_deref().unwrap())]).await;
    assert_eq!(ids(&second), ["d0035", "d006", "d009"]);
    hub.shutdown().await;
}

#[tokio::test]
async fn bad_queries_are_refused_with_the_place() {
    let (hub, http) = hub(1).await;
    let longest = format!("SELECT * FROM devices WHERE deviceId = '{}'", "x".repeat(8192 - 41));
    assert_eq!(longest.len(), 8192);
    let page = http.query(&longest, &[]).await;
    assert_eq!((page.status.as_u16(), &page.body), (200, &json!([])));
    let nested = |levels: usize| {
        format!("SELECT * FROM devices WHERE {}1=1{}", "(".repeat(levels), ")".repeat(levels))
    };
    assert_eq!(http.query(&nested(50), &[]).await.status, 200);
    for (text, said) in [
        (String::new(), "line 1, column 1"),
        ("SELECT".to_owned(), "line 1"),
        ("SELECT * FROM devices WHERE tags.a = ".to_owned(), "line 1, column 38"),
        ("SELECT *\nFROM devices\nWHERE tags.a ! 1".to_owned(), "line 3, column 14"),
        ("SELECT * FROM things".to_owned(), "line 1, column 15"),
        ("SELECT * FROM devices WHERE tags.a IN ('x')".to_owned(), "line 1, column 39"),
        ("DROP TABLE devices".to_owned(), "line 1, column 1"),
        (format!("{longest} "), "8192"),
        (nested(3000), "line 1"),
        ("\u{1f600}".repeat(100), "line 1"),
    ] {
        let refused = http.query(&text, &[]).await;
        let told = refused.refusal(400_004, "ArgumentInvalid");
        assert!(told.contains(said), "{text:.60}: {told}");
    }
    for (body, number, name) in [
        ("", 400_006, "IotHubFormatError"),
        ("[]", 400_006, "IotHubFormatError"),
        ("{}", 400_005, "ArgumentNull"),
        (r#"{"query":null}"#, 400_005, "ArgumentNull"),
        (r#"{"query":7}"#, 400_006, "IotHubFormatError"),
    ] {
        let request = http.owner(&Method::POST, "/devices/query").body(body);
        exchange(request).await.refusal(number, name);
    }
    let big = json!({"query": "x".repeat(1 << 20)}).to_string();
    exchange(http.owner(&Method::POST, "/devices/query").body(big)).await.refusal(413_001, "MessageTooLarge");
    hub.shutdown().await;
}

#[tokio::test]
async fn forged_continuations_and_page_sizes_are_refused() {
    let (hub, http) = hub(5).await;
    let text = "SELECT * FROM devices";
    for size in ["0", "-1", "1001", "many", "", "1.5"] {
        http.query(text, &[("x-ms-max-item-count", size)]).await.refusal(400_004, "ArgumentInvalid");
    }
    let page = http.query(text, &[("x-ms-max-item-count", "2")]).await;
    let token = page.continuation.unwrap();
    let mut altered = token.clone().into_bytes();
    altered[3] = if altered[3] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    let other_hub = LocalHub::builder().start().await.unwrap();
    for (query, token) in [
        (text, altered.as_str()),
        (text, &token[..token.len() - 2]),
        (text, "made-up"),
        (text, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("SELECT * FROM devices.modules", &token),
        ("SELECT * FROM devices ", &token),
    ] {
        let refused = http.query(query, &[("x-ms-continuation", token)]).await;
        let told = refused.refusal(400_004, "ArgumentInvalid");
        assert!(told.contains("x-ms-continuation"), "{told}");
    }
    for device in ["d000", "d001", "d002"] {
        other_hub.create_device(&device.parse().unwrap()).await.unwrap();
    }
    let foreign = other_hub.query(text, 1, None).await.unwrap().continuation.unwrap();
    http.query(text, &[("x-ms-continuation", &foreign)]).await.refusal(400_004, "ArgumentInvalid");
    // The one that was given is as good as before.
    let rest = http.query(text, &[("x-ms-continuation", &token)]).await;
    assert_eq!(ids(&rest), ["d002", "d003", "d004"]);
    other_hub.shutdown().await;
    hub.shutdown().await;
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_too() {
    let (hub, http) = hub(0).await;
    // Each twin is about 80 KB of text.
    let values: Vec<Value> = (0..7).map(|_| json!("\u{1f600}".repeat(1000))).collect();
    for number in 0..110 {
        let id = format!("d{number:03}").parse().unwrap();
        hub.create_device(&id).await.unwrap();
        let patch = values.iter().enumerate().fold(TwinPatch::new(), |patch, (index, value)| {
            patch.desired(format!("a{index}"), value.clone()).tag(format!("t{index}"), value.clone())
        });
        hub.update_twin(&id, &patch).await.unwrap();
    }
    let (mut seen, mut pages, mut continuation) = (Vec::new(), 0, None::<String>);
    loop {
        let mut headers = vec![("x-ms-max-item-count", "1000")];
        headers.extend(continuation.as_deref().map(|token| ("x-ms-continuation", token)));
        let page = http.query("SELECT * FROM devices", &headers).await;
        assert!(page.body.to_string().len() < 5 << 20);
        seen.extend(ids(&page));
        pages += 1;
        match page.continuation {
            Some(next) => continuation = Some(next),
            None => break,
        }
    }
    assert!(pages > 1 && seen.len() == 110 && seen.is_sorted(), "{pages}");
    hub.shutdown().await;
}
