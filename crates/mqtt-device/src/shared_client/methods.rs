//! This file makes the stream of calls of direct methods. There is one stream at a time, and the client subscribes to
//! calls when the application first asks for the stream.

use std::sync::Arc;

use super::SharedClient;
use crate::error::{Error, ErrorKind};
use crate::methods::DirectMethods;
use crate::subscriptions::Feed;

impl SharedClient {
    pub(crate) async fn direct_methods(&self) -> Result<DirectMethods, Error> {
        let Some(reader) = self.calls.reader() else {
            return Err(Error::of(
                ErrorKind::InvalidArgument,
                self.device_id(),
                "there is one stream of direct methods: use or drop the one that exists",
            ));
        };
        // The stream exists before the hub has agreed, so that a call that comes at once has a reader.
        let methods = DirectMethods::new(
            reader,
            Arc::clone(&self.calls),
            self.instructions.downgrade(),
            self.device_id().clone(),
            self.clock().clone(),
        );
        self.subscribe(Feed::Methods, "direct methods").await?;
        Ok(methods)
    }
}
