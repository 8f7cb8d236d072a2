//! The socket side: one request, one answer, every step of it bounded in time and size.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::model::{Nanos, UnixNanos};

use super::desk::{Outcome, Reply, Trouble};
use super::options::RestOptions;

/// A vendor's REST side, and the connections to it that are kept open. Clones share them.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base_url: String,
    key: Option<(&'static str, String)>,
    body_bytes_max: usize,
}

impl Client {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// Where `ca_file` cannot be read or has no certificate.
    pub fn new(options: &RestOptions) -> io::Result<Self> {
        let roots = match &options.ca_file {
            Some(path) => authorities(path)?,
            None => RootCerts::WebPki,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            // Whatever else in the process chose another default, or none.
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let step = Some(options.step_max.to_duration());
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // A redirect would show the key to another host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("tickwire/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(options.requests_at_once_max)
            .max_idle_connections_per_host(options.requests_at_once_max)
            .timeout_resolve(step)
            .timeout_connect(step)
            .timeout_send_request(step)
            .timeout_recv_response(step)
            .timeout_global(Some(options.request_max.to_duration()))
            .build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            base_url: options.base_url.as_str().to_owned(),
            key: options.key.as_ref().map(|key| options.vendor.vendor.key_header(key)),
            body_bytes_max: options.body_bytes_max,
        })
    }

    /// Asks for a path and query, and waits for the answer.
    ///
    /// # Errors
    /// Where none came that is whole and within its limits. A status that is no success is an answer.
    pub fn fetch(&self, path: &str) -> Outcome {
        let mut request = self.agent.get(format!("{}{path}", self.base_url));
        if let Some((name, value)) = &self.key {
            request = request.header(*name, value);
        }
        let response = request.call().map_err(|error| self.trouble(error))?;
        let mut reply = head(response.status().as_u16(), response.headers());
        let limit = self.body_bytes_max as u64;
        // The first limit is on what comes in, the second on what it unpacks to.
        let body = response.into_body().into_with_config().limit(limit + 1).reader();
        body.take(limit + 1)
            .read_to_end(&mut reply.body)
            .map_err(|error| self.trouble(ureq::Error::from(error)))?;
        if reply.body.len() > self.body_bytes_max {
            return Err(Trouble::TooLong(self.body_bytes_max));
        }
        Ok(reply)
    }

    fn trouble(&self, error: ureq::Error) -> Trouble {
        match error {
            ureq::Error::HostNotFound => Trouble::Unresolved,
            ureq::Error::Timeout(step) => Trouble::TimedOut(step.to_string()),
            ureq::Error::BodyExceedsLimit(_) => Trouble::TooLong(self.body_bytes_max),
            ureq::Error::Rustls(error) => Trouble::Tls(error.to_string()),
            ureq::Error::Io(error) => match error.get_ref().map(|inner| inner.downcast_ref()) {
                Some(Some(tls @ rustls::Error::InvalidCertificate(_))) => Trouble::Tls(tls.to_string()),
                _ => Trouble::Cut(error.to_string()),
            },
            other => Trouble::Protocol(other.to_string()),
        }
    }
}

fn authorities(path: &Path) -> io::Result<RootCerts> {
    let wrong =
        |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| io::Error::new(error.kind(), wrong(error.to_string())))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .map(|der| der.map(|der| Certificate::from_der(&der).to_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(format!("not certificates in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in it; PEM with at least one is needed".to_owned()));
    }
    Ok(RootCerts::from(certificates))
}

fn head(status: u16, headers: &HeaderMap) -> Reply {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = text("date").and_then(http_date);
    let retry_after = text("retry-after").and_then(|value| match value.parse::<u32>() {
        Ok(seconds) => Some(Nanos::from_secs(i64::from(seconds))),
        Err(_) => Some(http_date(value)?.since(date?)),
    });
    let used_weight = text("x-mbx-used-weight-1m").and_then(|value| value.parse().ok());
    Reply { status, retry_after, used_weight, date, body: Vec::new() }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<UnixNanos> {
    let stamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    stamp.as_second().checked_mul(1_000_000_000).map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let value = |text: &'static str| ureq::http::HeaderValue::from_static(text);
        pairs.iter().map(|(name, text)| (ureq::http::HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn how_long_to_wait_is_read_in_both_its_forms() {
        let seconds = head(429, &headers(&[("retry-after", "7"), ("x-mbx-used-weight-1m", "6001")]));
        assert_eq!((seconds.retry_after, seconds.used_weight), (Some(Nanos::from_secs(7)), Some(6_001)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let until = head(503, &headers(&[("date", date), ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]));
        assert_eq!(until.retry_after, Some(Nanos::from_secs(60)));
        assert_eq!(until.date, Some(UnixNanos(784_111_777_000_000_000)));
        let none =
            head(503, &headers(&[("date", "today"), ("retry-after", "-1"), ("x-mbx-used-weight-1m", "")]));
        assert_eq!((none.date, none.retry_after, none.used_weight), (None, None, None));
    }
}
