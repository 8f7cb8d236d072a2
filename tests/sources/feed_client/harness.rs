//! An ingest stage on the real poll, turned by the test's own thread, and venues on threads that play a script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tickwire::feed::{Endpoint, Origin, PoolOptions, SourceOptions, find, session};
use tickwire::ingest::{Ingest, IngestOptions, Outside};
use tickwire::model::{Nanos, Symbol, SymbolTable, Tick};
use tickwire::runtime::clock::Clock;
use tickwire::runtime::core::{Core, CoreOptions};
use tickwire::runtime::{Receiver, Report, ring};
use tungstenite::{Message, WebSocket};

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint {
        tls: false,
        host: addr.ip().to_string(),
        port: addr.port(),
        path_and_query: "/stream?x=1".to_owned(),
        headers: vec![("X-Key".to_owned(), "sesame".to_owned())],
        ca_file: None,
    }
}

pub fn secured(host: &str, addr: SocketAddr, ca_file: PathBuf) -> Endpoint {
    Endpoint { tls: true, host: host.to_owned(), ca_file: Some(ca_file), ..endpoint(addr) }
}

/// One pool with one connection, as a source.
pub fn source(name: &str, endpoint: Endpoint) -> SourceOptions {
    let (dialect, session) = (find("binance").unwrap(), session::find("binance").unwrap());
    let symbols = vec![Symbol::new(b"BTCUSDT").unwrap()];
    let pool = PoolOptions::new(name, dialect, session, endpoint, symbols);
    SourceOptions {
        handshake_max: Nanos::from_millis(2_000),
        line_bytes_max: 64 * 1024,
        ..SourceOptions::new(name, Origin::Connect(Box::new(pool)), dialect)
    }
}

/// The text of one trade, by its id.
pub fn trade(id: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!(
        r#"{{"e":"trade","E":{now},"T":{now},"s":"BTCUSDT","t":{id},"p":"61800.30","q":"0.006","X":"MARKET","m":false}}"#
    )
}

/// A stage and what it says.
pub struct Rig {
    pub core: Core,
    pub shard: Receiver<Tick>,
    reports: crossbeam_channel::Receiver<Report>,
    pub notes: Vec<String>,
    pub ids: Vec<u64>,
    /// The longest turn so far.
    pub longest: Duration,
}

impl Rig {
    pub fn new(sources: Vec<SourceOptions>) -> Self {
        Self::joined(sources, 4096, |_| Outside::default())
    }

    pub fn joined(sources: Vec<SourceOptions>, depth: usize, outside: impl FnOnce(&Core) -> Outside) -> Self {
        let options =
            CoreOptions { name: "t".to_owned(), processor: None, spin: Nanos::ZERO, never_park: false };
        let mut core = Core::new(options).unwrap();
        let (report_to, reports) = crossbeam_channel::bounded(10_000);
        core.report_to(report_to);
        let (tx, shard) = ring(depth, core.bell(), core.bell());
        let options = IngestOptions {
            name: "ingest-0".to_owned(),
            sources,
            finish_at_end: false,
            pace: None,
            bell: core.bell(),
            clock: Clock::real(),
            outside: outside(&core),
        };
        let ingest = Ingest::new(options, core.registrar().unwrap(), SymbolTable::new(10), vec![tx]).unwrap();
        core.add(Box::new(ingest));
        Self { core, shard, reports, notes: Vec::new(), ids: Vec::new(), longest: Duration::ZERO }
    }

    /// One turn; takes ticks and notes.
    pub fn turn(&mut self) {
        let begin = Instant::now();
        let busy = self.core.turn();
        self.longest = self.longest.max(begin.elapsed());
        let ids = &mut self.ids;
        self.shard.drain(usize::MAX, |tick| ids.extend(tick.id().text_number()));
        self.take_reports();
        if !busy {
            std::thread::yield_now();
        }
    }

    pub fn take_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.notes.extend(report.notes);
        }
    }

    /// Turns until `done`, and fails where that never comes.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "{what}: never came; notes {:?}", self.notes);
            self.turn();
        }
    }

    pub fn until_ids(&mut self, ids: impl IntoIterator<Item = u64>) {
        let ids: Vec<_> = ids.into_iter().collect();
        self.until("trades", |rig| rig.ids.len() >= ids.len());
        assert_eq!(self.ids, ids);
    }

    pub fn until_note(&mut self, text: &str) {
        self.until(text, |rig| rig.notes.iter().any(|note| note.contains(text)));
    }
}

/// The number of a trade id that is one.
pub trait TextNumber {
    fn text_number(self) -> Option<u64>;
}

impl TextNumber for tickwire::model::TradeId {
    fn text_number(self) -> Option<u64> {
        let mut text = Vec::new();
        self.write(&mut text);
        String::from_utf8(text).unwrap().parse().ok()
    }
}

/// A venue that plays one script to each connection that comes, and then listens no more. What a script returns is told.
pub struct Venue<T> {
    pub addr: SocketAddr,
    thread: std::thread::JoinHandle<Vec<T>>,
}

pub type Script<T> = Box<dyn FnOnce(TcpStream) -> T + Send>;

impl<T: Send + 'static> Venue<T> {
    pub fn new(scripts: Vec<Script<T>>) -> Self {
        Self::at("127.0.0.1:0", scripts)
    }

    pub fn at(addr: &str, scripts: Vec<Script<T>>) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let play = move |script: Script<T>| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            script(stream)
        };
        let thread = std::thread::spawn(move || scripts.into_iter().map(play).collect());
        Self { addr, thread }
    }

    /// Waits for the scripts' end while the stage goes on.
    pub fn finish(self, rig: &mut Rig) -> Vec<T> {
        rig.until("the venue's end", |_| self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// A script that speaks WebSocket.
pub fn ws<T: Send + 'static>(
    play: impl FnOnce(&mut WebSocket<TcpStream>) -> T + Send + 'static,
) -> Script<T> {
    Box::new(move |stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        play(&mut socket)
    })
}

/// Reads until the client ends it; what came.
pub fn read_all<S: Read + Write>(socket: &mut WebSocket<S>) -> Vec<Message> {
    let mut seen = Vec::new();
    while let Ok(message) = socket.read() {
        seen.push(message);
    }
    seen
}

/// Waits for the client to ask for something: from then on it is known to listen.
pub fn await_request<S: Read + Write>(socket: &mut WebSocket<S>) {
    while !socket.read().unwrap().is_text() {}
}

/// An authority, and a server that it vouches for.
pub struct Authority {
    pub ca_file: PathBuf,
    pub config: Arc<ServerConfig>,
}

impl Authority {
    /// Vouches for `names`; its certificate is in a file of its own.
    pub fn new(file: &str, names: &[&str]) -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(rcgen::DnType::CommonName, file);
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_cert = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("feed_client");
        std::fs::create_dir_all(&folder).unwrap();
        let ca_file = folder.join(file);
        std::fs::write(&ca_file, ca_cert.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        Self { ca_file, config: Arc::new(config) }
    }

    /// A script that speaks WebSocket under TLS.
    pub fn wss<T: Send + 'static>(
        &self,
        play: impl FnOnce(&mut WebSocket<StreamOwned<ServerConnection, TcpStream>>) -> T + Send + 'static,
    ) -> Script<T> {
        let config = Arc::clone(&self.config);
        Box::new(move |stream| {
            let tls = ServerConnection::new(config).unwrap();
            let mut socket = tungstenite::accept(StreamOwned::new(tls, stream)).unwrap();
            play(&mut socket)
        })
    }

    /// A script that only tries to shake hands under TLS.
    pub fn tls_only(&self) -> Script<bool> {
        let config = Arc::clone(&self.config);
        Box::new(move |stream| {
            let tls = ServerConnection::new(config).unwrap();
            StreamOwned::new(tls, stream).read(&mut [0; 1]).is_ok()
        })
    }
}
