//! The service's REST interface over HTTPS, for back ends and for devices: one file per resource, one table
//! of who may use what.
//!
//! HTTP/1.1, as every official client speaks it; connections can be upgraded. Bounded: headers by
//! size and time, bodies by size and time, connections by the listener.

mod authentication_json;
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
mod json_object;
mod message_headers;
mod method_json;
mod methods;
mod modules;
mod query;
mod request;
mod router;
mod statistics;
mod twin_json;
mod twins;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;

use self::guard::{Guarded, Phases};
use crate::hub::Hub;
use crate::listener::places::Place;
use crate::listener::{self, Port};

/// What the listener offers by ALPN.
pub(crate) const ALPN: &[&[u8]] = &[b"http/1.1"];

/// How long an answer may take once the hub ends.
const GRACE: Duration = Duration::from_secs(1);

/// Longest head of a request: as much as the servers take that the service runs on.
const HEAD_BYTES: usize = 16 * 1024;

/// Serves the REST interface on a port until the hub ends.
pub(crate) async fn serve(hub: Hub, port: Port) {
    let router = router::router(hub.clone());
    let room = {
        let hub = hub.clone();
        move |stream, place| serve_connection(hub.clone(), router.clone(), stream, place)
    };
    listener::serve(&hub, port, room).await;
}

/// What the fuzz targets reach of this room.
#[cfg(fuzzing)]
pub(crate) fn fuzzing_method(body: &[u8]) {
    drop(method_json::parse(body));
}

async fn serve_connection<S>(hub: Hub, router: Router, stream: S, place: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phases = Phases::new();
    let stream = Guarded::new(stream, phases.clone(), Arc::clone(&place));
    let (begin, end) = (phases.clone(), phases);
    let service = router
        .map_request(move |request: Request<Incoming>| {
            begin.begin_request();
            let mut request = router::normalized(request.map(Body::new));
            // Whoever finds the request authorized tells it.
            request.extensions_mut().insert(Arc::clone(&place));
            request
        })
        .map_result(move |answered| {
            end.end_request();
            answered
        });
    let mut builder = http1::Builder::new();
    // The stream keeps the deadlines.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = hub.shutdown().cancelled() => {
            // What is being answered is answered; no further request is taken.
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
