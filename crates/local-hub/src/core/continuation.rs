//! [`Continuations`] writes and reads the position of the next page of a query, as text that clients carry
//! and cannot make up.
//!
//! The position is an identity, not a number of rows: pages neither repeat nor leave out a twin when
//! others come and go between them. The text is signed together with the query, so that it fits no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iothub_models::{ErrorCode, Identity, SharedAccessKey};
use ring::hmac;

use super::refusal::HubError;

/// Bytes of the signature that are sent: too many to be guessed.
const SIGNATURE_BYTES: usize = 16;

/// The point that a query has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) position: PagePosition,
    /// Rows that TOP still allows.
    pub(crate) left: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PagePosition {
    /// The page begins behind this twin, or with the first one if there is none.
    After(Option<Identity>),
    /// The page begins behind so many groups.
    Groups(u64),
}

/// Signs and checks the positions of one hub's queries.
#[derive(Clone, Debug)]
pub(crate) struct Continuations(hmac::Key);

impl Continuations {
    /// Makes continuations that are signed with a secret of the hub.
    pub(crate) fn new(secret: &SharedAccessKey) -> Self {
        // A key of its own, so that nothing signed here is a signature elsewhere.
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let own = hmac::sign(&secret, b"x-ms-continuation");
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    pub(crate) fn write(&self, query: &str, progress: &Progress) -> String {
        let left = progress.left;
        let position = match &progress.position {
            PagePosition::After(None) => format!("{left} a"),
            PagePosition::After(Some(id)) => match &id.module {
                None => format!("{left} d {}", id.device),
                Some(module) => format!("{left} m {} {module}", id.device),
            },
            PagePosition::Groups(number) => format!("{left} g {number}"),
        };
        let mut token = self.sign(query, &position).as_ref()[..SIGNATURE_BYTES].to_vec();
        token.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    pub(crate) fn read(&self, query: &str, token: &str) -> Result<Progress, HubError> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
            let (signature, position) = bytes.split_at_checked(SIGNATURE_BYTES)?;
            let position = std::str::from_utf8(position).ok()?;
            let signed = self.sign(query, position);
            // As long for a wrong one as for the right one.
            let differs = signature
                .iter()
                .zip(signed.as_ref())
                .fold(0, |differs, (left, right)| differs | left ^ right);
            if differs != 0 {
                return None;
            }
            parse(position)
        };
        read().ok_or_else(|| {
            let text = "x-ms-continuation is not of this query on this hub: send the query without it, from the beginning";
            HubError::new(ErrorCode::ArgumentInvalid, text)
        })
    }

    fn sign(&self, query: &str, position: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        // No position holds a line break, so the two cannot be divided in another way.
        context.update(position.as_bytes());
        context.update(b"\n");
        context.update(query.as_bytes());
        context.sign()
    }
}

/// Opens the reading of positions to the fuzz targets: `token` as it comes, and as what a token of this hub holds,
/// which comes back as it was.
#[cfg(fuzzing)]
pub(crate) fn fuzzing(query: &str, token: &str) {
    let continuations = Continuations::new(&SharedAccessKey::new("c2VjcmV0"));
    drop(continuations.read(query, token));
    if let Some(progress) = parse(token) {
        let written = continuations.write(query, &progress);
        assert_eq!(continuations.read(query, &written), Ok(progress), "{token:?}");
    }
}

fn parse(text: &str) -> Option<Progress> {
    let mut words = text.split(' ');
    let left = words.next()?.parse().ok()?;
    let position = match words.next()? {
        "a" => PagePosition::After(None),
        "d" => PagePosition::After(Some(Identity::device(words.next()?.parse().ok()?))),
        "m" => {
            let (device, module) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            PagePosition::After(Some(Identity { device, module: Some(module) }))
        }
        "g" => PagePosition::Groups(words.next()?.parse().ok()?),
        _ => return None,
    };
    Some(Progress { position, left })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continuations(secret: &str) -> Continuations {
        Continuations::new(&SharedAccessKey::new(secret))
    }

    fn positions() -> [PagePosition; 4] {
        let module = Identity { device: "d".parse().unwrap(), module: Some("$m".parse().unwrap()) };
        let device = Identity::device("a-b".parse().unwrap());
        [
            PagePosition::After(None),
            PagePosition::After(Some(device)),
            PagePosition::After(Some(module)),
            PagePosition::Groups(7),
        ]
    }

    #[test]
    fn a_position_comes_back_as_it_was() {
        for position in positions() {
            let progress = Progress { position, left: u64::MAX };
            let token = continuations("s").write("q", &progress);
            assert_eq!(continuations("s").read("q", &token), Ok(progress));
        }
    }

    #[test]
    fn of_another_query_of_another_hub_or_made_up_it_is_refused() {
        let progress = Progress { position: PagePosition::Groups(3), left: 5 };
        let token = continuations("s").write("q", &progress);
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = URL_SAFE_NO_PAD.encode(&bytes);
        for (secret, query, token) in [
            ("s", "q2", token.as_str()),
            ("t", "q", token.as_str()),
            ("s", "q", changed.as_str()),
            ("s", "q", ""),
            ("s", "q", "eA"),
            ("s", "q", "!"),
        ] {
            let refused = continuations(secret).read(query, token).unwrap_err();
            assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{token}");
        }
    }
}
