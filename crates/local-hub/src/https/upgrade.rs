//! This file lets connections go on in WebSocket, and hands them to the rooms of MQTT and AMQP.
//!
//! `router` has a route here for each path. `handshake` checks the request and words the answer; nobody is asked for a
//! token yet, since devices and back ends prove themselves inside, as they do over TCP. Until then the connection is
//! the same stranger that it was before, with the same place among the connections of the HTTPS port: it is cut when
//! its place is needed, and has the deadlines of its room.
//!
//! The stream that hyper gives back is taken out of everything that reads HTTP, so that an upgraded connection costs
//! no more than a connection over TCP and has no deadline of HTTP.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use iothub_models::ErrorCode;

use super::error::ApiError;
use super::guard::Guarded;
use super::handshake::{Endpoint, Handshake, Protocol};
use super::strict_reader::StrictReader;
use crate::activity::ActivityTransport;
use crate::hub::Hub;
use crate::listener::accepted::Permit;
use crate::listener::faults::Faulty;
use crate::listener::{Accepted, Stream};
use crate::websocket::{Fault, WebSocket};
use crate::{amqp, mqtt};

/// The rooms in which upgraded connections go on.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    pub(super) hub: Hub,
    pub(super) amqp: amqp::Room,
}

/// Returns the route of an endpoint.
pub(super) fn route(rooms: Rooms, endpoint: Endpoint) -> MethodRouter<Hub> {
    any(move |request: Request| {
        let response = answer(&rooms, endpoint, request);
        async move { response }
    })
}

fn answer(rooms: &Rooms, endpoint: Endpoint, mut request: Request) -> Response {
    let handshake = match Handshake::read(endpoint, &request) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.answer(),
    };
    let Some(permit) = request.extensions_mut().remove::<Arc<Permit>>() else {
        return ApiError::new(ErrorCode::ServerError, "the request came over no connection").into_response();
    };
    let upgrading = hyper::upgrade::on(request);
    rooms.serve(handshake.protocol, &permit, async move {
        match upgrading.await {
            Ok(upgraded) => websocket(upgraded),
            Err(error) => {
                tracing::debug!(%error, "a peer left before its connection was upgraded");
                None
            }
        }
    });
    handshake.answer()
}

impl Rooms {
    /// Starts the task that serves a connection once it is upgraded, in the group and with the faults of its protocol.
    fn serve(
        &self,
        protocol: Protocol,
        permit: &Permit,
        upgrading: impl Future<Output = Option<WebSocket<Faulty<Stream>>>> + Send + 'static,
    ) {
        let lifecycle = self.hub.lifecycle();
        let (transport, tasks, name) = match protocol {
            Protocol::Mqtt => (ActivityTransport::MqttWs, lifecycle.intake(), "mqtt over websocket"),
            Protocol::Amqp => (ActivityTransport::AmqpWs, lifecycle.rooms(), "amqp over websocket"),
        };
        let permit = permit.upgraded(transport, tasks, name);
        let Self { hub, amqp } = self.clone();
        Arc::clone(&permit).serve(async move {
            let Some(stream) = upgrading.await else { return };
            stream.below().upgraded(transport);
            let accepted = Accepted { stream, permit };
            // Boxed, so that a peer that is not upgraded yet does not cost the memory that serving it takes.
            match protocol {
                Protocol::Mqtt => Box::pin(mqtt::run(hub, accepted)).await,
                Protocol::Amqp => Box::pin(amqp.serve(accepted)).await,
            }
        });
    }
}

/// Returns the WebSocket on the stream of a connection that was upgraded.
fn websocket(upgraded: Upgraded) -> Option<WebSocket<Faulty<Stream>>> {
    let Ok(parts) = upgraded.downcast::<TokioIo<StrictReader<Guarded<Faulty<Stream>>>>>() else {
        tracing::error!("a connection was upgraded that is none of the HTTPS port");
        return None;
    };
    let stream = parts.io.into_inner().into_inner().into_inner();
    // They came with the request or right behind it, through the check of HTTP, which may have changed them.
    if !parts.read_buf.is_empty() {
        return Some(WebSocket::refused(stream, Fault::Early));
    }
    Some(WebSocket::new(stream))
}
