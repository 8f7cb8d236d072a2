//! TLS 1.3 as a client over a non-blocking stream, and the type behind which it and a plain stream look the same.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::transport::Stream;

/// How much encrypted text one read takes from the socket. rustls alone would ask for 4 KiB at a time.
const READ_BYTES: usize = 32 * 1024;
/// How much a connection may hold that the socket did not take yet.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Whom to trust: shared by all connections that trust the same.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Why a file of authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read the certificates in {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: rustls::pki_types::pem::Error,
    },
    /// It holds no certificate that can vouch for others.
    #[error("{0} holds no certificate of an authority in PEM (-----BEGIN CERTIFICATE-----)")]
    Empty(String),
    /// The cryptography cannot be set up.
    #[error("cannot set up TLS 1.3: {0}")]
    Setup(rustls::Error),
}

impl Trust {
    /// In the authorities of a PEM file and no others, or, without one, in those that Mozilla trusts.
    ///
    /// # Errors
    /// Where the file cannot be read or holds no authority.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let shown = || path.display().to_string();
                let file = |error| TrustError::File { path: shown(), error };
                for certificate in CertificateDer::pem_file_iter(path).map_err(file)? {
                    // One that cannot vouch is left out; where none can, that is said.
                    let _ = roots.add(certificate.map_err(file)?);
                }
                if roots.is_empty() {
                    return Err(TrustError::Empty(shown()));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TrustError::Setup)?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

/// A connected stream, plain or secured, with bounded buffers. Reads and writes never block.
pub enum Socket {
    /// Bytes as they are.
    Plain(Stream),
    /// Bytes under TLS 1.3.
    Tls(Box<Secured>),
}

/// A stream under TLS.
pub struct Secured {
    tls: ClientConnection,
    stream: BufReader<Stream>,
}

impl Socket {
    /// Begins TLS with a host, which is named to the server (SNI) where it is not an address, and whose certificate must be its.
    ///
    /// # Errors
    /// Where the name cannot be one of a host.
    pub fn secure(stream: Stream, host: &str, trust: &Trust) -> Result<Self, String> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host's name"))?;
        let mut tls = ClientConnection::new(Arc::clone(&trust.0), name).map_err(|error| error.to_string())?;
        tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Self::Tls(Box::new(Secured { tls, stream: BufReader::with_capacity(READ_BYTES, stream) })))
    }

    /// Moves the handshake on as far as it goes now; `true` once it is done, as a plain stream always is.
    ///
    /// # Errors
    /// `InvalidData` where TLS failed, with what it said; else what the stream said.
    pub fn handshake(&mut self) -> io::Result<bool> {
        let Self::Tls(secured) = self else { return Ok(true) };
        while secured.tls.is_handshaking() {
            secured.send()?;
            match secured.receive() {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // The last words of the handshake are ours.
        secured.send()?;
        Ok(true)
    }

    /// The stream below, to register and tune it.
    pub fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(secured) => secured.stream.get_mut(),
        }
    }

    /// Says that no more will follow, so that the peer can tell an end from a cut.
    pub fn say_end(&mut self) {
        if let Self::Tls(secured) = self {
            secured.tls.send_close_notify();
            // Said to whoever still listens.
            let _ = secured.send();
        }
    }
}

impl Secured {
    /// Hands what TLS has to say to the stream, as much as it takes.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(self.stream.get_mut()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                // The edge of a writable socket brings us back.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what the stream has; 0 is its end.
    fn receive(&mut self) -> io::Result<usize> {
        let n = loop {
            match self.tls.read_tls(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if let Err(error) = self.tls.process_new_packets() {
            // Tells the peer what was wrong with what it sent.
            let _ = self.send();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(n)
    }
}

impl Read for Socket {
    /// # Errors
    /// `UnexpectedEof` where TLS was cut off: the stream ended and the peer had not said so. `InvalidData` where what came is not
    /// TLS, or was tampered with.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let secured = match self {
            Self::Plain(stream) => return stream.read(buffer),
            Self::Tls(secured) => secured,
        };
        loop {
            match secured.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            let received = secured.receive();
            // What came may want an answer, such as new keys.
            secured.send()?;
            received?;
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let secured = match self {
            Self::Plain(stream) => return stream.write(bytes),
            Self::Tls(secured) => secured,
        };
        secured.send()?;
        match secured.tls.writer().write(bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            n => {
                secured.send()?;
                Ok(n)
            }
        }
    }

    /// # Errors
    /// `WouldBlock` where the stream has not taken all yet.
    fn flush(&mut self) -> io::Result<()> {
        let Self::Tls(secured) = self else { return Ok(()) };
        secured.send()?;
        if secured.tls.wants_write() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}
