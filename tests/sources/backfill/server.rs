//! An HTTP server of a few lines that does with each connection what it is told to, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection, StreamOwned};

/// What is done with one connection, once its request has been read.
pub enum Act {
    /// These bytes, then the end.
    Send(Vec<u8>),
    /// These bytes, then a reset.
    Cut(Vec<u8>),
    /// All of these bytes but the last, then nothing until the peer goes.
    Slow(Vec<u8>),
}

pub fn with(bytes: Vec<u8>) -> Act {
    Act::Send(bytes)
}

pub fn cut(bytes: Vec<u8>) -> Act {
    Act::Cut(bytes)
}

pub fn slow(bytes: Vec<u8>) -> Act {
    Act::Slow(bytes)
}

/// An answer of status 200.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same, packed.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    let packed = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        packed.len()
    );
    [head.into_bytes(), packed].concat()
}

/// The server.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    tls: Vec<ProtocolVersion>,
}

impl Server {
    /// One act for each connection, in order; after the last it listens no more.
    pub fn start(acts: Vec<Act>) -> Self {
        Self::serve(acts, None)
    }

    /// The same over TLS, and the certificate, in PEM, of the authority that vouches for it.
    pub fn start_tls(acts: Vec<Act>) -> (Self, String) {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
        about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = about.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(about, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        (Self::serve(acts, Some(Arc::new(config))), authority.pem())
    }

    fn serve(acts: Vec<Act>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let remembers = Arc::clone(&seen);
        std::thread::spawn(move || {
            for act in acts {
                let Ok((stream, _)) = listener.accept() else { return };
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                match &tls {
                    None => act_on(act, stream, &remembers),
                    Some(config) => {
                        let session = ServerConnection::new(Arc::clone(config)).unwrap();
                        let mut stream = StreamOwned::new(session, stream);
                        // A peer that does not trust us goes in the middle of the handshake.
                        while stream.conn.is_handshaking()
                            && stream.conn.complete_io(&mut stream.sock).is_ok()
                        {}
                        if let Some(version) =
                            stream.conn.protocol_version().filter(|_| !stream.conn.is_handshaking())
                        {
                            remembers.lock().unwrap().tls.push(version);
                            act_on(act, stream, &remembers);
                        }
                    }
                }
            }
        });
        Self { url, seen }
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// What was spoken on the connections so far.
    pub fn tls_versions(&self) -> Vec<ProtocolVersion> {
        self.seen.lock().unwrap().tls.clone()
    }
}

/// What connections are closed by.
trait Socket: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socket for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

fn act_on(act: Act, mut stream: impl Socket, seen: &Mutex<Seen>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    seen.lock().unwrap().requests.push(String::from_utf8_lossy(&head).into_owned());
    match act {
        Act::Send(bytes) => {
            // A client that has read enough may have gone.
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            let _ = stream.socket().shutdown(Shutdown::Write);
        }
        Act::Cut(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = socket2::SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO));
            return;
        }
        Act::Slow(bytes) => {
            let _ = stream.write_all(&bytes[..bytes.len() - 1]);
        }
    }
    while matches!(stream.read(&mut byte), Ok(n) if n > 0) {}
}
