//! This file defines the proxy through which a client reaches its hub, and reads it from a URL.
//!
//! Programs give a [`Proxy`] to the builder of a client; without it the client reads the environment
//! (`proxy/setting.rs`). Speaking to the proxy is left to the clients: this crate opens no connection. Neither the user
//! name nor the password is in `Display`, `Debug` or an error.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

mod no_proxy;
mod setting;

pub use setting::ProxySetting;

/// The longest user name and the longest password that SOCKS5 can carry.
const MAX_SOCKS_CREDENTIAL: usize = 255;

/// The language that is spoken with a proxy.
///
/// ```
/// # fn main() -> Result<(), iothub_auth::InvalidProxy> {
/// use iothub_auth::{Proxy, ProxyScheme};
///
/// let proxy: Proxy = "socks5://proxy.example".parse()?;
/// assert_eq!((proxy.scheme(), proxy.port()), (ProxyScheme::Socks5, 1080));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyScheme {
    /// HTTP CONNECT over TCP: `http://`.
    Http,
    /// HTTP CONNECT over TLS: `https://`.
    Https,
    /// SOCKS5, where the proxy resolves the hub's name: `socks5h://`, and `socks5://` too.
    Socks5,
}

impl ProxyScheme {
    /// Returns how URLs name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5h",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// A proxy: its address, its language, and the user name and password that it asks for.
///
/// ```
/// # fn main() -> Result<(), iothub_auth::InvalidProxy> {
/// use iothub_auth::Proxy;
///
/// let proxy: Proxy = "http://anna:c%40t@proxy.example:3128".parse()?;
/// assert_eq!(proxy.reveal_credentials(), Some(("anna", "c@t")));
/// assert_eq!(proxy.to_string(), "http://proxy.example:3128");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    scheme: ProxyScheme,
    host: String,
    port: u16,
    credentials: Option<(Zeroizing<String>, Zeroizing<String>)>,
}

impl Proxy {
    /// Returns the language that is spoken with the proxy.
    #[must_use]
    pub const fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// Returns the proxy's host name or address, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the proxy's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the user name and the password, if the proxy has them: secrets, for the connection to the proxy alone.
    #[must_use]
    pub fn reveal_credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// Returns the same proxy with a user name and a password, which need no percent-encoding here.
    ///
    /// # Errors
    /// [`InvalidProxy`] if the proxy's language cannot carry them.
    pub fn with_credentials(mut self, user_name: &str, password: &str) -> Result<Self, InvalidProxy> {
        let defect = match self.scheme {
            ProxyScheme::Socks5 if user_name.is_empty() => Some("SOCKS5 needs a user name with its password"),
            ProxyScheme::Socks5
                if user_name.len() > MAX_SOCKS_CREDENTIAL || password.len() > MAX_SOCKS_CREDENTIAL =>
            {
                Some("SOCKS5 carries a user name and a password of at most 255 bytes each")
            }
            ProxyScheme::Http | ProxyScheme::Https if user_name.contains(':') => {
                Some("HTTP cannot carry a user name with a colon")
            }
            _ => None,
        };
        if let Some(defect) = defect {
            return Err(InvalidProxy::new(defect));
        }
        self.credentials = Some((Zeroizing::new(user_name.to_owned()), Zeroizing::new(password.to_owned())));
        Ok(self)
    }
}

/// The URL without user name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_str();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.credentials.is_some() { ", with credentials" } else { "" };
        write!(f, "Proxy({self}{credentials})")
    }
}

/// Reads `http://`, `https://`, `socks5://` or `socks5h://`, then `user:password@` or nothing, then host and port.
/// User name and password are percent-encoded. Without a scheme it is `http://`; without a port it is 80, 443 or 1080.
impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyScheme::Http,
            "https" => ProxyScheme::Https,
            // The hub's name is left to the proxy for both: a network that needs a proxy often resolves no outside names.
            "socks5" | "socks5h" => ProxyScheme::Socks5,
            _ => {
                return Err(InvalidProxy::new(
                    "its scheme is unknown: it has to be http://, https://, socks5:// or socks5h://",
                ));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(InvalidProxy::new(
                "nothing may follow its port; in a user name or a password '/' is %2F, '?' is %3F and '#' is %23",
            ));
        }
        let (user_info, authority) = match rest.rsplit_once('@') {
            Some((user_info, authority)) => (Some(user_info), authority),
            None => (None, rest),
        };
        let (host, port) = host_and_port(authority, scheme)?;
        let proxy = Self { scheme, host, port, credentials: None };
        match user_info {
            None | Some("" | ":") => Ok(proxy),
            Some(user_info) => {
                let (user_name, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                proxy.with_credentials(&decoded(user_name)?, &decoded(password)?)
            }
        }
    }
}

fn host_and_port(authority: &str, scheme: ProxyScheme) -> Result<(String, u16), InvalidProxy> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return Err(InvalidProxy::new("the bracket of its IPv6 address is not closed"));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(InvalidProxy::new("there is no IPv6 address in its brackets"));
        }
        (host, port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at(end);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
            return Err(InvalidProxy::new(
                "it has no host name: it has to look like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",
            ));
        }
        (host, port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => scheme.default_port(),
        Some(digits) => match digits.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(InvalidProxy::new("its port is not a number from 1 to 65535")),
        },
        None => return Err(InvalidProxy::new("a colon and a port have to follow its address")),
    };
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<Zeroizing<String>, InvalidProxy> {
    let is_encoded =
        |part: &str| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_encoded) {
        return Err(InvalidProxy::new("in a user name or a password '%' is written %25"));
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Zeroizing::new(text.into_owned())),
        Err(_) => Err(InvalidProxy::new("its user name or its password is not UTF-8")),
    }
}

/// The reason why a text is not a proxy. It holds nothing of the text, which may hold a password.
///
/// ```
/// let error = "ftp://proxy.example".parse::<iothub_auth::Proxy>().unwrap_err();
/// assert!(error.to_string().starts_with("the proxy cannot be used: its scheme is unknown"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxy {
    /// The environment variable that the text is from, if it is from one.
    variable: Option<&'static str>,
    defect: &'static str,
}

impl InvalidProxy {
    const fn new(defect: &'static str) -> Self {
        Self { variable: None, defect }
    }

    const fn in_variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "the proxy of the environment variable {variable} cannot be used: ")?,
            None => f.write_str("the proxy cannot be used: ")?,
        }
        f.write_str(self.defect)
    }
}

impl std::error::Error for InvalidProxy {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap()
    }

    #[test]
    fn urls_of_every_kind_are_read() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTP://proxy.example/", "http://proxy.example:80"),
            ("proxy:8080", "http://proxy:8080"),
            ("https://proxy", "https://proxy:443"),
            ("socks5://127.0.0.1", "socks5h://127.0.0.1:1080"),
            ("socks5h://[::1]:9050", "socks5h://[::1]:9050"),
            (" http://:@proxy ", "http://proxy:80"),
        ] {
            assert_eq!(proxy(text).to_string(), shown, "{text}");
            assert_eq!(proxy(text).reveal_credentials(), None, "{text}");
        }
        assert_eq!(proxy("http://[fe80::1]:1").host(), "fe80::1");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxy = proxy("socks5://us%65r:p%40ss:w%25rd@proxy:1");
        assert_eq!(proxy.reveal_credentials(), Some(("user", "p@ss:w%rd")));
        assert_eq!(
            format!("{proxy} {proxy:?}"),
            "socks5h://proxy:1 Proxy(socks5h://proxy:1, with credentials)"
        );
        let bare: Proxy = "http://proxy:1".parse().unwrap();
        assert_eq!(bare.with_credentials("user", "%").unwrap().reveal_credentials(), Some(("user", "%")));
    }

    #[test]
    fn errors_name_the_defect_and_hold_no_secret() {
        for (text, expected) in [
            ("ftp://u:hunter2@p", "its scheme is unknown"),
            ("", "it has no host name"),
            ("http://u:hunter2@", "it has no host name"),
            ("http://u:hunter2", "its port is not a number"),
            ("http://u:hunter2@p:0", "its port is not a number"),
            ("http://u:hunter2@p:65536", "its port is not a number"),
            ("http://u:hun/ter2@p", "nothing may follow its port"),
            ("http://u:hunter2@p:1/x", "nothing may follow its port"),
            ("http://u:hunter2%@p", "'%' is written %25"),
            ("http://u:hunter2%zz@p", "'%' is written %25"),
            ("http://u:hunter2%ff@p", "not UTF-8"),
            ("http://u%3a:hunter2@p", "a user name with a colon"),
            ("socks5://:hunter2@p", "SOCKS5 needs a user name"),
            ("http://[::1", "not closed"),
            ("http://[zz]:1", "no IPv6 address"),
            ("http://[::1]1", "a colon and a port"),
        ] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error}");
        }
        let long = format!("socks5://u:{}@p", "x".repeat(256));
        assert!(long.parse::<Proxy>().unwrap_err().to_string().contains("at most 255 bytes"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _any = text.parse::<Proxy>();
        }
    }
}
