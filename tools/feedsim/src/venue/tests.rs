use super::*;
use crate::generate::Habits;
use crate::rest::{Ask, Outcome, ask};
use tokio::sync::mpsc::UnboundedReceiver;

const START: i64 = 1_800_000_000_000;

fn venue(kindred: Kindred, change: impl FnOnce(&mut Manners)) -> Venue {
    let mut manners = Manners {
        kindred,
        keys: Vec::new(),
        connections_max: 3,
        per_frame: 20,
        vw_decimals: 12,
        ping_ms: 20_000,
        lifetime_ms: 86_400_000,
        wait_topics: 1,
        linger_ms: 0,
        plant: 0,
        page_max: 50_000,
        rest_per_minute: 0,
    };
    change(&mut manners);
    let habits = Habits {
        symbols: 20,
        zipf: 1.0,
        rate: 500.0,
        open_factor: 2.0,
        minute_factor: 2.0,
        quotes: 0.2,
        conditions: 0.0,
        fractions: 0.2,
        contiguous: kindred != Kindred::Massive,
    };
    let supply = Supply::Generated { habits, seed: 5, for_ms: 70_000, skew_ms: 0 };
    Venue::new(manners, supply, Symbols::default(), Truth::default(), Vec::new(), 5, None)
}

struct Client {
    number: u64,
    queue: Queue,
    rest: UnboundedReceiver<Out>,
}

impl Client {
    fn new(venue: &mut Venue, dialect: Dialect, asks: &[&str]) -> Self {
        let (queue, rest) = Queue::new();
        let number = venue.opened(dialect, &[], START, queue.clone());
        let client = Self { number, queue, rest };
        asks.iter().for_each(|text| client.ask(venue, text));
        client
    }

    fn ask(&self, venue: &mut Venue, text: &str) {
        venue.heard(self.number, Incoming::Text(text.to_owned()), START);
    }

    /// All text messages so far.
    fn texts(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while let Ok(next) = self.rest.try_recv() {
            if let Out::Bytes(bytes) = next
                && bytes[0] == 0x81
            {
                let head = match bytes[1] {
                    126 => 4,
                    127 => 10,
                    _ => 2,
                };
                out.push(String::from_utf8(bytes[head..].to_vec()).unwrap());
            }
        }
        out
    }

    /// The events of a type in all messages so far.
    fn events(&mut self, kind: &str) -> Vec<Value> {
        let messages = self.texts();
        let all = messages.iter().flat_map(|text| match serde_json::from_str(text).unwrap() {
            Value::Array(events) => events,
            one => vec![one],
        });
        all.filter(|event| event["ev"] == kind || event["data"]["e"] == kind || event["e"] == kind).collect()
    }
}

fn run(venue: &mut Venue, for_ms: i64) {
    (0..for_ms).for_each(|turn| venue.advance(START + turn));
}

const AUTH: &str = r#"{"action":"auth","params":"k"}"#;

#[test]
fn a_client_of_massive_is_let_in_and_answered_parameter_by_parameter() {
    let mut venue = venue(Kindred::Massive, |manners| manners.keys = vec!["k".to_owned()]);
    let subscribe = r#"{"action":"subscribe","params":"T.SIM000,X.1,AM.*"}"#;
    let mut client = Client::new(&mut venue, Dialect::Massive, &[subscribe, AUTH, subscribe]);
    let texts = client.texts();
    let statuses: Vec<String> = texts
        .iter()
        .flat_map(|text| {
            let events: Vec<Value> = serde_json::from_str(text).unwrap();
            events.into_iter().map(|event| event["status"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(statuses, ["connected", "error", "auth_success", "success", "error", "success"]);
    let mut other = Client::new(&mut venue, Dialect::Massive, &[r#"{"action":"auth","params":"?"}"#]);
    assert!(other.texts()[1].contains("auth_failed"));
}

#[test]
fn the_older_connection_of_a_key_is_evicted_after_the_handshake_of_the_newer() {
    let mut venue = venue(Kindred::Massive, |manners| manners.connections_max = 2);
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(&mut venue, Dialect::Massive, &[AUTH])).collect();
    let told: Vec<bool> = clients
        .iter_mut()
        .map(|client| client.texts().iter().any(|text| text.contains("max_connections")))
        .collect();
    assert_eq!(told, [true, false, false]);
    assert_eq!(venue.counts.evicted, 1);
}

#[test]
fn without_faults_a_client_gets_every_sale_once_and_bars_that_add_up() {
    let mut venue = venue(Kindred::Massive, |_| {});
    let mut client = Client::new(
        &mut venue,
        Dialect::Massive,
        &[AUTH, r#"{"action":"subscribe","params":"T.*,A.SIM000,AM.SIM000"}"#],
    );
    run(&mut venue, 75_000);
    assert!(venue.is_done(START + 75_000));
    let mut all = Vec::new();
    let messages = client.texts();
    for text in &messages {
        let Value::Array(events) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        assert!(events.len() <= 20);
        all.extend(events);
    }
    let of = |kind: &str| {
        all.iter().filter(|event| event["ev"] == kind && event["sym"] == "SIM000").collect::<Vec<_>>()
    };
    let sales = all.iter().filter(|event| event["ev"] == "T").count() as u64;
    assert_eq!(sales, venue.truth.sales);
    let (trades, seconds, minutes) = (of("T"), of("A"), of("AM"));
    // Each second's bar against the sales that were sent in it, by floats, which is near enough to find a sale too many.
    for bar in &seconds {
        let (start, end) = (bar["s"].as_i64().unwrap(), bar["e"].as_i64().unwrap());
        let within: Vec<_> =
            trades.iter().filter(|trade| (start..end).contains(&trade["t"].as_i64().unwrap())).collect();
        let price = |trade: &Value| trade["p"].as_f64().unwrap();
        assert_eq!(price(within.first().unwrap()), bar["o"].as_f64().unwrap());
        assert_eq!(price(within.last().unwrap()), bar["c"].as_f64().unwrap());
        let size = |trade: &Value| {
            trade["ds"].as_str().map_or(trade["s"].as_f64().unwrap(), |text| text.parse().unwrap())
        };
        let volume: f64 = within.iter().map(|trade| size(trade)).sum();
        let told = bar["dv"].as_str().map_or(bar["v"].as_f64().unwrap(), |text| text.parse().unwrap());
        assert!((volume - told).abs() < 1e-6, "{volume} {bar}");
    }
    let counted: usize = seconds.len();
    assert!(counted > 50 && !minutes.is_empty());
}

#[test]
fn what_was_dropped_is_in_the_truth_and_in_rest() {
    let mut venue = venue(Kindred::Massive, |_| {});
    let mut client =
        Client::new(&mut venue, Dialect::Massive, &[AUTH, r#"{"action":"subscribe","params":"T.*"}"#]);
    venue.advance(START);
    let answer = venue.order(r#"{"do":"fault","plan":"drop:for=20s:share=0.5:on=all"}"#, START + 1);
    assert!(answer.contains("[1]"), "{answer}");
    run(&mut venue, 75_000);
    let (got, due) = (client.events("T").len() as u64, venue.truth.sales);
    assert!(got < due - 1_000, "{got} of {due}");
    let target = format!("/v2/aggs/ticker/SIM000/range/1/second/{START}/{}?limit=7", START + 80_000);
    let (mut target, mut rows) = (target, 0);
    let mut told = 0;
    loop {
        let Outcome::Answer(answer) =
            ask(&mut venue, &Ask { target, base: "http://h".to_owned(), ..Ask::default() }, START)
        else {
            panic!()
        };
        assert_eq!(answer.status, 200);
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        let results = page["results"].as_array().unwrap();
        assert!(results.len() <= 7);
        rows += results.len();
        told += results.iter().map(|bar| bar["n"].as_u64().unwrap()).sum::<u64>();
        match page["next_url"].as_str() {
            Some(next) => target = next.strip_prefix("http://h").unwrap().to_owned(),
            None => break,
        }
    }
    let sales: u64 = venue.truth.bars(0, 1_000, 0, i64::MAX / 2).iter().map(|bar| bar.trades).sum();
    assert!(rows > 60 && told == sales);
}

#[test]
fn a_planted_sale_is_neither_sent_nor_in_rest() {
    let mut venue = venue(Kindred::Massive, |manners| manners.plant = 100);
    let mut client =
        Client::new(&mut venue, Dialect::Massive, &[AUTH, r#"{"action":"subscribe","params":"T.*"}"#]);
    let path = std::env::temp_dir().join(format!("feedsim-planted-{}.csv", std::process::id()));
    venue.truth = Truth::new(Some(&path)).unwrap();
    run(&mut venue, 75_000);
    venue.flush().unwrap();
    let rows = std::fs::read_to_string(&path).unwrap().lines().count() as u64 - 1;
    std::fs::remove_file(&path).unwrap();
    assert_eq!((client.events("T").len() as u64, venue.truth.sales), (rows - 1, rows - 1));
}

#[test]
fn binance_streams_are_asked_for_answered_numbered_and_ended() {
    let mut venue = venue(Kindred::Binance, |_| {});
    let ask_for = r#"{"method":"SUBSCRIBE","params":["sim000usdt@trade","sim000usdt@kline_1s","sim000usdt@kline_1m"],"id":7}"#;
    let mut combined =
        Client::new(&mut venue, Dialect::Combined, &[ask_for, r#"{"method":"LIST_SUBSCRIPTIONS","id":8}"#]);
    let mut raw = Client::new(&mut venue, Dialect::Raw, &[]);
    let (queue, _kept) = Queue::new();
    assert_eq!(venue.opened(Dialect::Raw, &["sim001usdt@trade".to_owned()], START, queue), 3);
    let answers = combined.texts();
    assert_eq!(answers[0], r#"{"result":null,"id":7}"#);
    assert!(answers[1].contains("sim000usdt@kline_1m"));
    run(&mut venue, 30_000);
    combined.ask(
        &mut venue,
        r#"{"method":"UNSUBSCRIBE","params":["sim000usdt@trade","sim000usdt@kline_1s"],"id":9}"#,
    );
    (30_000..75_000).for_each(|turn| venue.advance(START + turn));
    let all: Vec<Value> = combined.texts().iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let ids: Vec<u64> = all
        .iter()
        .filter(|message| message["data"]["e"] == "trade")
        .map(|message| message["data"]["t"].as_u64().unwrap())
        .collect();
    assert!(ids.len() > 100 && ids.windows(2).all(|two| two[1] == two[0] + 1));
    let klines = |interval: &str, closed: bool| {
        let is = |m: &&Value| m["data"]["k"]["i"] == interval && m["data"]["k"]["x"] == closed;
        all.iter().filter(is).count()
    };
    assert!(klines("1s", true) >= 25 && klines("1s", false) == 0);
    assert!(
        klines("1m", true) == 1 && klines("1m", false) > 50,
        "{} {}",
        klines("1m", true),
        klines("1m", false)
    );
    assert!(raw.texts().is_empty());
    let target = format!("/api/v3/klines?symbol=SIM000USDT&interval=1m&startTime={START}&limit=1000");
    let Outcome::Answer(answer) = ask(&mut venue, &Ask { target, ..Ask::default() }, START) else { panic!() };
    let rows: Vec<Vec<Value>> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(rows.len(), 2);
    assert!(answer.headers[0].1 == "2" && rows[0][8].as_u64().unwrap() > 100);
    // More than five messages in a second are too many.
    (0..6).for_each(|_| raw.ask(&mut venue, r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#));
    assert_eq!(raw.texts().len(), 5);
}

#[test]
fn rest_fails_as_it_is_told_to() {
    let mut venue = venue(Kindred::BinanceFutures, |manners| manners.rest_per_minute = 3);
    venue.symbols.place("SIM000USDT");
    let status = |venue: &mut Venue, interval: &str, now| {
        let target = format!("/fapi/v1/klines?symbol=SIM000USDT&interval={interval}");
        match ask(venue, &Ask { target, ..Ask::default() }, now) {
            Outcome::Answer(answer) => {
                (answer.status, answer.headers.iter().any(|(name, _)| *name == "Retry-After"))
            }
            Outcome::Hang(until) => (0, until > now),
        }
    };
    assert_eq!(status(&mut venue, "1m", START), (200, false));
    // Futures have no bars of a second.
    assert_eq!(status(&mut venue, "1s", START), (400, false));
    for (kind, wanted) in [("rest-429", (429, true)), ("rest-500", (500, false)), ("rest-hang", (0, true))] {
        venue.order(&format!(r#"{{"do":"fault","plan":"{kind}:for=1s"}}"#), START);
        assert_eq!(status(&mut venue, "1m", START + 999), wanted);
    }
    assert_eq!(status(&mut venue, "1m", START + 1_000), (200, false));
    assert_eq!(status(&mut venue, "1m", START + 1_000), (429, true));
}

#[test]
fn faults_strike_whom_they_are_told_to() {
    let mut venue = venue(Kindred::Massive, |_| {});
    let keys = ["b", "a"];
    let clients = keys.map(|key| {
        let auth = format!(r#"{{"action":"auth","params":"{key}"}}"#);
        Client::new(&mut venue, Dialect::Massive, &[&auth, r#"{"action":"subscribe","params":"T.*"}"#])
    });
    let order = |venue: &mut Venue, plan: &str| {
        let answer = venue.order(&format!(r#"{{"do":"fault","plan":"{plan}"}}"#), START);
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(order(&mut venue, "stall:on=key=a")["connections"], json!([2]));
    assert_eq!(order(&mut venue, "stall:on=1")["connections"], json!([1]));
    assert!(order(&mut venue, "stall:on=key=c")["error"].is_string());
    assert!(order(&mut venue, "what")["error"].is_string());
    assert_eq!(order(&mut venue, "refuse:on=key=b:for=1s")["connections"], json!([1]));
    assert!(!venue.takes(START + 999) && venue.takes(START + 1_000));
    // It was reset, and is struck no more.
    assert_eq!(order(&mut venue, "stall:on=all")["connections"], json!([2]));
    assert!(clients[0].queue.waiting.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert_eq!(order(&mut venue, "auth:on=all:for=1s")["connections"], json!([2]));
    let mut late = Client::new(&mut venue, Dialect::Massive, &[AUTH]);
    assert!(late.texts().concat().contains("auth_failed"));
}

#[test]
fn what_was_due_before_a_fault_has_gone_out_before_it() {
    let mut venue = venue(Kindred::Massive, |_| {});
    venue.plans = vec!["reset:after=500ms".parse().unwrap()];
    let client =
        Client::new(&mut venue, Dialect::Massive, &[AUTH, r#"{"action":"subscribe","params":"T.*"}"#]);
    venue.advance(START);
    // It began with the next second, and was busy elsewhere from then on.
    venue.advance(START + 1_000);
    venue.advance(START + 1_500);
    let line = &venue.lines[&client.number];
    assert!(line.leaving && line.sent > 100);
    assert_eq!(line.sent, venue.truth.sales);
}
