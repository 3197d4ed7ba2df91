//! [`put_token`] answers the requests to the `$cbs` node: clients put SAS tokens there, and a token counts for
//! their whole connection. `nodes` calls it.
//!
//! A request is a message with the application properties `operation=put-token`, `type` and `name`, and
//! the token as its body. A good token is answered with 200 if `name` is a hub's, and with 202 if it is an
//! event hub's: the official Node client takes nothing but 200, the official Rust client of Event
//! Hubs nothing but 202.

use iothub_amqp_server::{Body, Message, Value};

use super::address;
use super::replies::Reply;
use crate::activity::refused;
use crate::core::grant::Grants;
use crate::hub::Hub;

/// The name of the request in a refusal.
const PUT_TOKEN: &str = "put token";

/// Checks a put-token request and remembers the grant that its token proves.
pub(super) fn put_token(request: &Message, hub: &Hub, grants: &mut Grants) -> Reply {
    let property =
        |name| request.application_properties.get(name).and_then(Value::as_str).unwrap_or_default();
    if property("operation") != "put-token" {
        return refusal(400, "the operation on $cbs must be put-token");
    }
    // Some clients call whatever a credential of the user's own making gave them a JWT.
    let kind = property("type");
    if !kind.eq_ignore_ascii_case("servicebus.windows.net:sastoken") && !kind.eq_ignore_ascii_case("jwt") {
        return refusal(401, "this hub takes SAS tokens only, of type servicebus.windows.net:sastoken");
    }
    let Body::Value(Value::String(token)) = &request.body else {
        return refusal(400, "the body of put-token must be the token, as a string");
    };
    match hub.authorize_amqp(token) {
        Ok(grant) => {
            grants.add(&grant);
            let of_event_hub = address::audience_entity(property("name"))
                .is_some_and(|entity| entity.eq_ignore_ascii_case(&hub.config().name));
            let (status, description) = if of_event_hub { (202, "Accepted") } else { (200, "OK") };
            Reply { status, description: description.to_owned(), condition: None, body: Value::Null }
        }
        // The official Python client reads the description after its C core has freed it; a short one is
        // still whole then, and the client raises the right error.
        Err(denied) => {
            refused(PUT_TOKEN, &denied.reason).code(denied.code).tell();
            Reply::refusal(401, None, "Unauthorized access")
        }
    }
}

fn refusal(status: i32, text: &'static str) -> Reply {
    refused(PUT_TOKEN, &text).tell();
    Reply::refusal(status, None, text)
}
