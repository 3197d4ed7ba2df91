//! The stream of direct methods: one at a time, subscribed to when it is first asked for.

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
        // Made before the hub agrees, so that no call that comes at once finds nobody.
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
