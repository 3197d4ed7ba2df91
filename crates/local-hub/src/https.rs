//! This module serves the service's REST interface over HTTPS, to back ends and to devices. Each resource has a file
//! of its own, and one table in `router` says who may use what.
//!
//! The builder starts it. The interface speaks HTTP/1.1, as every official client does. A connection may also be
//! upgraded to WebSocket, which `upgrade` does; it goes on in the rooms of MQTT or AMQP. Headers and bodies are bounded
//! by size and by time; the listener bounds the number of connections.

mod call_error;
mod commands;
mod device_json;
mod devicebound;
mod devices;
mod digital_twins;
mod error;
mod events;
mod feedback;
mod guard;
mod handshake;
mod head;
mod json_object;
mod message_headers;
mod method_json;
mod methods;
mod modules;
mod passed_over;
mod query;
mod request;
mod router;
mod statistics;
mod strict_reader;
mod told;
mod twin_json;
mod twins;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt as _;

use self::guard::{Guarded, Phases};
use self::strict_reader::StrictReader;
use crate::amqp;
use crate::hub::Hub;
use crate::listener::{self, Accepted, Port};

/// The protocols that the listener offers by ALPN.
pub(crate) const ALPN: &[&[u8]] = &[b"http/1.1"];

/// The longest time that an answer may take once the hub ends.
const GRACE: Duration = Duration::from_secs(1);

/// Longest head of a request: as much as the servers take that the service runs on.
const HEAD_BYTES: usize = 16 * 1024;

/// Serves the REST interface on a port until the hub ends. Connections that ask for AMQP over WebSocket go on in the
/// room `amqp`.
pub(crate) async fn serve(hub: Hub, amqp: amqp::Room, port: Port) {
    let router = router::router(hub.clone(), amqp);
    let room = {
        let hub = hub.clone();
        move |accepted| serve_connection(hub.clone(), router.clone(), accepted)
    };
    listener::serve(&hub, port, room).await;
}

/// Opens the reading of method calls to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_method(body: &[u8]) {
    drop(method_json::parse(body));
}

/// Opens the reading of bodies to the fuzz targets; returns the writes of a twin that the body may be.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_bodies(body: &[u8]) -> Vec<crate::core::twins::TwinWrite> {
    use crate::core::twins::SectionWrite;

    drop(device_json::parse(body));
    drop(device_json::parse_module(body));
    events::fuzzing_batch(body);
    let parse = |write| twin_json::parse(body, write).ok().map(|read| read.value);
    let writes = [SectionWrite::Merge as fn(_) -> _, SectionWrite::Replace].map(parse);
    writes.into_iter().flatten().collect()
}

/// Opens the reading and writing of a message's headers to the fuzz targets.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_headers(text: &str) {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let headers = pairs.filter_map(|(name, value)| Some((name.parse().ok()?, value.trim().parse().ok()?)));
    let headers: axum::http::HeaderMap = headers.collect();
    events::fuzzing_single(&headers);
    if let Ok(message) = message_headers::read_c2d(&headers, bytes::Bytes::new()) {
        let leased = crate::core::c2d::LeasedC2d {
            message: std::sync::Arc::new(message),
            lock: crate::core::lease::LockTokens::new(1).next(),
            sequence_number: 1,
            enqueued_time: jiff::Timestamp::UNIX_EPOCH,
            delivery_count: 1,
        };
        drop(message_headers::write_c2d(&"d1".parse().expect("it is an id"), &leased));
    }
}

/// Serves the requests of one connection. The permit goes with each request.
async fn serve_connection(hub: Hub, router: Router, Accepted { stream, permit }: Accepted) {
    let phases = Phases::new();
    let stream = Guarded::new(stream, phases.clone(), Arc::clone(&permit));
    let (begin, end) = (phases.clone(), phases);
    let service = router
        .map_request(move |request: Request<Incoming>| {
            begin.begin_request();
            let mut request = router::normalized(request.map(Body::new));
            // The router marks its peer as proven once the request is authorized.
            request.extensions_mut().insert(Arc::clone(&permit));
            request
        })
        .map_result(move |answered| {
            end.end_request();
            answered
        });
    let mut builder = http1::Builder::new();
    // The stream keeps the deadlines.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES);
    let stream = TokioIo::new(StrictReader::new(stream));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(service)).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = hub.shutdown().cancelled() => {
            // A request that has begun is still answered; no further one is taken.
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                // It was waiting for a request that has not begun.
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTPS connection broke");
    }
}
