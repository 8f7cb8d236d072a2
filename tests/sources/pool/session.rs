//! What a pool says to a vendor, and when it keeps silent.

use tickwire::feed::{FeedCommand, Loss, Order, Universes, session, universe};
use tickwire::model::{Nanos, RestWish, Symbol, UnixNanos};
use tickwire::runtime::Report;

use super::venue::{Door, World, at, options, seconds, status, symbols};

fn world(members: usize, n: usize) -> World {
    World::new(1, vec![options("massive", members, symbols(n))])
}

fn named(names: &[&str]) -> Vec<Symbol> {
    names.iter().map(|name| Symbol::or_every(name.as_bytes()).unwrap()).collect()
}

fn counter(world: &mut World, name: &str) -> u64 {
    let mut report = Report::new("ingest-0", at(world.now));
    world.pools[0].hand_over(&mut report);
    report.counters.iter().find(|(counter, _)| counter == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn a_pool_connects_shows_its_key_and_subscribes_in_pieces() {
    let mut world = world(1, 250);
    world.run(1_000);
    let sent = world.sent(0);
    assert!(sent[0].2.contains("\"auth\""));
    let sizes: Vec<_> = sent[1..].iter().map(|(_, _, text)| text.split(',').count() - 1).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!((0..250).all(|symbol| world.is_served(symbol)));
    assert_eq!(counter(&mut world, "feed.massive.m0.symbols"), 250);
    assert_eq!(counter(&mut world, "feed.massive.m0.state"), 3);
    assert!((0..250).all(|symbol| world.gaps(symbol).is_empty()), "nothing is missing before the beginning");
}

#[test]
fn a_refused_key_is_not_tried_again_before_its_cooldown() {
    let mut world = world(3, 9);
    world.key_is_good = false;
    world.run(600_000);
    let attempts: Vec<_> = (0..3).flat_map(|slot| world.attempts(0, slot)).collect();
    // All three at the start, then again after 60, 120 and 240 s of silence.
    assert!(attempts.len() <= 12, "{attempts:?}");
    assert!(attempts.iter().all(|ms| *ms < 1_000 || *ms >= 60_000), "{attempts:?}");
    let mut report = Report::new("ingest-0", UnixNanos(0));
    world.pools[0].hand_over(&mut report);
    assert!(report.notes.iter().any(|note| note.contains("the key was refused")), "{:?}", report.notes);
}

#[test]
fn who_was_put_out_does_not_come_back_before_its_cooldown() {
    let mut world = world(1, 3);
    world.run(60_000);
    // Another program connects, and goes on doing so whenever it is put out.
    world.places = 0;
    world.put_out_the_oldest();
    world.run(60_000 + 4 * 3_600_000);
    let attempts = world.attempts(0, 0);
    assert!(attempts[1] >= 60_000 + 300_000, "{attempts:?}");
    // 5, 10, 20, 40 min, then hourly.
    assert!(attempts.len() <= 9, "{attempts:?}");
    assert_eq!(world.gaps(0).len(), 1);
    assert_eq!(world.gaps(0)[0].1, i64::MAX);
}

#[test]
fn a_pool_that_is_too_large_for_its_account_does_not_fight_itself() {
    let mut world = world(3, 9);
    world.places = 2;
    world.run(50 * 60_000);
    let connects = world.log.iter().filter(|(.., order)| matches!(order, Order::Connect { .. })).count();
    assert_eq!(connects, 3);
    assert!((0..9).all(|symbol| world.is_served(symbol)), "the two that are left serve everything");
    // A place that falls free is taken by whoever is due first, at once.
    let wire = world.alive()[0];
    world.cut(wire, Loss::Reset);
    world.run(world.now + 2_000);
    assert_eq!(world.alive().len(), 2);
    assert!((0..9).all(|symbol| world.is_served(symbol)));
}

#[test]
fn what_nobody_serves_is_polled_and_filled_when_somebody_does_again() {
    let mut world = world(1, 1);
    world.run(20_000);
    world.door = Door::Refuse;
    let wire = world.alive()[0];
    world.cut(wire, Loss::Reset);
    world.run(40_000);
    let id = world.names.intern(b"S0").unwrap();
    assert_eq!(world.coverage.next_wish(), Some(RestWish::Poll { source: 0, symbol: id, on: true }));
    world.door = Door::Open;
    world.run(80_000);
    let wish = world.coverage.next_wish();
    assert!(
        matches!(wish, Some(RestWish::Fill { from, to, .. }) if from <= at(20_000) && to > at(40_000)),
        "{wish:?}"
    );
    assert_eq!(world.coverage.next_wish(), Some(RestWish::Poll { source: 0, symbol: id, on: false }));
    assert_eq!(world.coverage.next_wish(), None);
}

#[test]
fn a_subscription_without_an_answer_is_asked_for_again_ever_more_seldom() {
    let mut world = world(1, 1);
    world.answers_subscriptions = false;
    world.run(300_000);
    let asked: Vec<_> = world.sent(0).into_iter().skip(1).map(|(ms, ..)| ms).collect();
    assert!((4..=10).contains(&asked.len()), "{asked:?}");
    world.answers_subscriptions = true;
    world.run(400_000);
    assert!(world.is_served(0));
}

#[test]
fn what_the_vendor_refuses_is_named_and_not_asked_for_again() {
    let mut world = world(1, 2);
    world.answers_subscriptions = false;
    world.run(1_000);
    let wire = world.alive()[0];
    world.say(wire, status("error", "not authorized to subscribe to: T.S1"));
    world.answers_subscriptions = true;
    world.run(30_000);
    assert!(world.is_served(0) && !world.is_served(1));
    let again = world.sent(0).into_iter().skip(2).filter(|(_, _, text)| text.contains("T.S1")).count();
    assert_eq!(again, 0);
    assert_eq!(counter(&mut world, "feed.massive.m0.refused"), 1);
    assert_eq!(counter(&mut world, "feed.massive.symbols_homeless"), 1);
}

#[test]
fn symbols_come_and_go_by_command() {
    let mut world = world(2, 4);
    world.run(15_000);
    let subscribe = FeedCommand::Subscribe { symbols: named(&["S9", "S0"]), member: Some("m1".to_owned()) };
    world.command(0, subscribe);
    world.run(16_000);
    assert!(world.is_served(9) && world.is_served(0));
    let wire = world.current[&(0, 1)];
    assert!(world.wires[wire].subscribed.contains("T.S9"));
    assert!(!world.wires[wire].subscribed.contains("T.S0"), "it has a home already");
    world.command(0, FeedCommand::Unsubscribe { symbols: named(&["S9", "S0", "S77"]) });
    world.run(17_000);
    assert!(!world.is_served(9) && !world.is_served(0) && world.is_served(1));
    assert!(world.alive().iter().all(|wire| !world.wires[*wire].subscribed.contains("T.S9")));
    // Nobody polls what nobody wants.
    world.run(60_000);
    assert_eq!(world.coverage.next_wish(), None);
}

#[test]
fn universes_read_anew_change_only_what_differs() {
    let read = |text: &str| {
        let written: universe::Written = toml::from_str(text).unwrap();
        Universes::default().with(&written).unwrap()
    };
    let mut it = options("massive", 1, Vec::new());
    it.members[0].universes = vec!["tech:top".to_owned()];
    it.universes = read(r#""tech:top" = ["S0", "S1", "S2"]"#);
    let mut world = World::new(1, vec![it]);
    world.run(15_000);
    world.command(0, FeedCommand::Subscribe { symbols: named(&["S7"]), member: None });
    world.run(16_000);
    let before = world.sent(0).len();
    world.command(0, FeedCommand::Reload(read(r#""tech:top" = ["S2", "S3", "S1"]"#)));
    world.run(20_000);
    let sent: Vec<_> = world.sent(0).into_iter().skip(before).map(|(_, _, text)| text).collect();
    assert_eq!(
        sent,
        [r#"{"action":"subscribe","params":"T.S3"}"#, r#"{"action":"unsubscribe","params":"T.S0"}"#]
    );
    assert!(world.is_served(7), "what a command asked for stays");
}

#[test]
fn every_symbol_is_one_subscription_and_each_that_was_seen_has_its_own_cover() {
    let mut world = World::new(1, vec![options("massive", 1, named(&["*"]))]);
    world.run(5_000);
    assert_eq!(world.sent(0)[1].2, r#"{"action":"subscribe","params":"T.*"}"#);
    [0, 1, 0].into_iter().for_each(|symbol| world.trade(symbol));
    world.run(20_000);
    assert_eq!([0, 1, 5].map(|symbol| world.is_served(symbol)), [true, true, false]);
    assert_eq!(counter(&mut world, "feed.massive.m0.symbols"), 2);
    let wire = world.current[&(0, 0)];
    world.cut(wire, Loss::Reset);
    world.run(40_000);
    for symbol in [0, 1] {
        let gaps = world.gaps(symbol);
        assert_eq!(gaps.len(), 1, "S{symbol}: {gaps:?}");
        assert!(gaps[0].1 - gaps[0].0 < 3_000 && world.is_served(symbol), "S{symbol}: {gaps:?}");
    }
    // The bars of both are wished for, and of nobody else.
    let wishes: Vec<_> = std::iter::from_fn(|| world.coverage.next_wish()).collect();
    let ids = [0, 1].map(|symbol| world.names.intern(format!("S{symbol}").as_bytes()).unwrap());
    for id in ids {
        assert!(wishes.iter().any(|wish| matches!(wish, RestWish::Fill { symbol, .. } if *symbol == id)));
    }
    assert_eq!(wishes.len(), 2, "{wishes:?}");
    world.trade(5);
    world.run(41_000);
    assert!(world.is_served(5) && world.gaps(5).is_empty(), "nothing was known of it before");
    let sent = world.sent(0);
    assert_eq!(sent.iter().filter(|(_, _, text)| text.contains("T.")).count(), 2, "{sent:?}");
}

#[test]
fn every_symbol_goes_to_another_member_when_its_own_is_lost() {
    let mut world = World::new(1, vec![options("massive", 2, named(&["*"]))]);
    world.run(15_000);
    (0..3).for_each(|symbol| world.trade(symbol));
    world.run(16_000);
    assert_eq!(counter(&mut world, "feed.massive.m1.symbols"), 0);
    let wire = world.current[&(0, 0)];
    world.cut(wire, Loss::Reset);
    // Nobody has connected anew by then.
    world.run(16_200);
    assert_eq!(counter(&mut world, "feed.massive.m1.guests"), 3);
    assert!((0..3).all(|symbol| world.is_served(symbol) && world.gaps(symbol).len() == 1));
    world.run(40_000);
    assert_eq!(counter(&mut world, "feed.massive.m0.symbols"), 3, "at home again");
    assert!((0..3).all(|symbol| world.is_served(symbol) && world.gaps(symbol).len() == 1));
}

#[test]
fn a_list_may_become_every_symbol_and_a_list_again() {
    let read = |text: &str| {
        let written: universe::Written = toml::from_str(text).unwrap();
        Universes::default().with(&written).unwrap()
    };
    let mut it = options("massive", 1, Vec::new());
    it.members[0].universes = vec!["tech:top".to_owned()];
    it.universes = read(r#""tech:top" = ["S0", "S1"]"#);
    let mut world = World::new(1, vec![it]);
    world.run(15_000);
    // Whatever stands beside it is in it.
    world.command(0, FeedCommand::Reload(read(r#""tech:top" = ["S1", "*"]"#)));
    world.run(16_000);
    world.command(0, FeedCommand::Subscribe { symbols: named(&["S7"]), member: None });
    (0..3).for_each(|symbol| world.trade(symbol));
    world.run(18_000);
    assert!((0..3).all(|symbol| world.is_served(symbol)));
    world.command(0, FeedCommand::Reload(read(r#""tech:top" = ["S1"]"#)));
    world.run(20_000);
    assert_eq!((0..3).map(|symbol| world.is_served(symbol)).collect::<Vec<_>>(), [false, true, false]);
    let subscribed = &world.wires[world.current[&(0, 0)]].subscribed;
    assert_eq!(subscribed.iter().collect::<Vec<_>>(), ["T.S1"]);
}

#[test]
fn a_member_without_data_is_stale_but_not_cut() {
    let mut world = world(1, 1);
    world.run(120_000);
    assert_eq!(world.attempts(0, 0).len(), 1);
    assert_eq!(counter(&mut world, "feed.massive.m0.stale"), 1);
    world.trade(0);
    world.run(121_000);
    assert_eq!(counter(&mut world, "feed.massive.m0.stale"), 0);
}

#[test]
fn renewal_of_one_of_two_leaves_no_gap() {
    let mut it = options("massive", 2, symbols(8));
    it.limits.lifetime = Some(seconds(3_600));
    let mut world = World::new(3, vec![it]);
    world.run(4 * 3_600_000);
    assert!(world.attempts(0, 0).len() >= 3 && world.attempts(0, 1).len() >= 3);
    assert!((0..8).all(|symbol| world.gaps(symbol).is_empty() && world.is_served(symbol)));
}

#[test]
fn a_vendor_with_a_pace_hears_no_message_too_soon() {
    let mut it = options("binance", 1, symbols(900));
    it.session = session::find("binance").unwrap();
    it.dialect = tickwire::feed::find("binance").unwrap();
    it.asks.channels = vec![("trade".to_owned(), session::Class::Trades)];
    it.limits.params_max = it.session.params_max;
    let mut world = World::new(1, vec![it]);
    world.run(0);
    // The scripted venue speaks another tongue: only the pool's own pace is looked at.
    let mut orders = Vec::new();
    for ms in 1..20_000 {
        let now = at(ms);
        if ms == 1 {
            world.pools[0].opened(0, now);
        }
        world.now = ms;
        let mut report = Report::new("x", now);
        world.pools[0].hand_over(&mut report);
        if ms % 5_000 == 0 {
            world.pools[0].heard(0, now);
        }
        if world.pools[0].deadline().is_some_and(|due| due <= now) {
            world.tick(0);
        }
        while let Some(order) = world.pools[0].next_order(now) {
            if matches!(order, Order::Send { .. } | Order::Ping { .. }) {
                orders.push(ms);
            }
        }
    }
    assert!(orders.len() >= 6, "{orders:?}");
    assert!(orders.windows(2).all(|pair| pair[1] - pair[0] >= 300), "{orders:?}");
    assert_eq!(session::find("binance").unwrap().spacing, Nanos::from_millis(300));
}
