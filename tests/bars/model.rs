//! The records of the pipeline against exact decimals: what is read, written, divided and named.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with the line it failed on")]

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Barrier;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use proptest::prelude::*;
use tickwire::model::decimal::{
    Fixed, NumberError, divide_half_even, fixed_from_f64, fixed_from_int, parse_fixed, write_fixed,
};
use tickwire::model::timeframe::TimeframeError;
use tickwire::model::{
    IdForm, Notional, Price, Size, Symbol, SymbolCache, SymbolError, SymbolId, SymbolTable, Tick, Timeframe,
    Timeframes, TradeId, UnixNanos, Volume,
};

/// The parser's own bound on units; a value that rounds up onto it may fall either side.
const UNITS_MAX: i128 = 1 << 100;

/// What `parse_fixed` promises, by exact decimals. `None` is out of range.
fn expected(text: &str, scale: u32) -> Option<Fixed> {
    let exact = BigDecimal::from_str(text).unwrap();
    let kept = exact.with_scale_round(i64::from(scale), RoundingMode::HalfEven);
    let units = (&kept * BigDecimal::from(10u64.pow(scale))).to_i128()?;
    (units.abs() <= UNITS_MAX).then_some(Fixed { units, rounded: kept != exact })
}

fn written(units: i128, scale: u32) -> String {
    let mut out = Vec::new();
    write_fixed(&mut out, units, scale);
    String::from_utf8(out).unwrap()
}

fn scale() -> impl Strategy<Value = u32> {
    0..=18u32
}

/// Numbers by JSON's grammar, up to 40 digits and exponents past every range.
fn json_number() -> impl Strategy<Value = String> {
    ("-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?", proptest::option::of(("[eE][+-]?", -45i32..45))).prop_map(
        |(mantissa, exponent)| match exponent {
            Some((e, value)) if e.len() == 2 => format!("{mantissa}{e}{}", value.abs()),
            Some((e, value)) => format!("{mantissa}{e}{value}"),
            None => mantissa,
        },
    )
}

/// Texts whose dropped digits are a half, just under it, or just over it.
fn near_half() -> impl Strategy<Value = (String, u32)> {
    (0u64..1_000_000, scale(), prop_oneof![Just("5"), Just("50000"), Just("4999999999"), Just("5000000001")])
        .prop_map(|(units, scale, tail)| (format!("{units}{tail}e-{}", scale as usize + tail.len()), scale))
}

/// Doubles as feeds send them: 1 to 17 digits with a few places; and any bits at all.
fn double() -> impl Strategy<Value = f64> {
    let decimal = |digits: std::ops::RangeInclusive<u32>| {
        (digits, any::<u64>(), 0i32..24, any::<bool>()).prop_map(|(digits, bits, places, negative)| {
            let sign = if negative { "-" } else { "" };
            format!("{sign}{}e-{places}", bits % 10u64.pow(digits)).parse().unwrap()
        })
    };
    prop_oneof![
        decimal(1..=8),
        decimal(15..=17),
        any::<u64>().prop_map(f64::from_bits),
        // The double beside a short decimal must not be taken for it.
        (decimal(1..=15), -2i64..=2).prop_map(|(value, ulps): (f64, i64)| {
            f64::from_bits(value.to_bits().saturating_add_signed(ulps))
        }),
        // Halves of the last place: the multiplication's own rounding decides them wrongly if it is trusted.
        (0u64..1 << 53, 0u32..40).prop_map(|(n, shift)| n as f64 / 2f64.powi(shift as i32)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_number_means_its_decimal_text(text in json_number(), scale in scale()) {
        match (parse_fixed(text.as_bytes(), scale), expected(&text, scale)) {
            (Ok(fixed), Some(right)) => prop_assert_eq!(fixed, right),
            (Err(NumberError::OutOfRange), None) => {}
            (got, right) => prop_assert!(false, "{} at {}: {:?}, should be {:?}", text, scale, got, right),
        }
    }

    #[test]
    fn digits_past_the_unit_round_half_to_even((text, scale) in near_half()) {
        prop_assert_eq!(parse_fixed(text.as_bytes(), scale).ok(), expected(&text, scale));
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_units(units in -UNITS_MAX..=UNITS_MAX, shift in 0..100u32, scale in scale()) {
        let units = units >> shift;
        let text = written(units, scale);
        prop_assert_eq!(parse_fixed(text.as_bytes(), scale), Ok(Fixed { units, rounded: false }));
        prop_assert_eq!(BigDecimal::from_str(&text).unwrap(), BigDecimal::new(BigInt::from(units), i64::from(scale)));
        prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']), "{} is not the shortest", text);
    }

    #[test]
    fn every_unit_up_to_the_widest_is_written_exactly(units in any::<i128>(), scale in scale()) {
        let right = BigDecimal::new(BigInt::from(units), i64::from(scale));
        prop_assert_eq!(BigDecimal::from_str(&written(units, scale)).unwrap(), right);
    }

    #[test]
    fn a_double_means_its_shortest_round_trip_decimal(value in double(), scale in scale()) {
        let right = if value.is_finite() {
            parse_fixed(format!("{value:e}").as_bytes(), scale)
        } else {
            Err(NumberError::Malformed)
        };
        prop_assert_eq!(fixed_from_f64(value, scale), right);
    }

    #[test]
    fn an_integer_means_its_decimal_text(value in any::<i128>(), shift in 0..127u32, scale in scale()) {
        let value = value >> shift;
        prop_assert_eq!(fixed_from_int(value, scale), parse_fixed(value.to_string().as_bytes(), scale));
    }

    #[test]
    fn the_midpoint_is_exact_to_half_a_unit_and_even(bid in any::<i64>(), ask in any::<i64>()) {
        let exact: BigDecimal = (BigDecimal::from(bid) + BigDecimal::from(ask)).half();
        let right = exact.with_scale_round(0, RoundingMode::HalfEven).to_i64();
        prop_assert_eq!(Some(Price::mid(Price(bid), Price(ask)).0), right);
    }

    #[test]
    fn the_vwap_of_trades_is_their_exact_average(trades in proptest::collection::vec((any::<i64>(), any::<u64>()), 1..40)) {
        let mut notional = Notional(0);
        let mut volume = Volume(0);
        for (price, size) in trades {
            let (price, size) = (Price(price >> 24), Size(size >> 24));
            notional.0 += price.times(size).0;
            volume.0 += u128::from(size.0);
        }
        prop_assert_eq!(notional.vwap(volume).map(|price| i128::from(price.0)), quotient(notional.0, volume.0));
    }

    #[test]
    fn division_is_exact_over_the_whole_range(n in wide(), d in wide(), n_shift in 0..127u32, d_shift in 0..127u32) {
        let (n, d) = ((n as i128) >> n_shift, d >> d_shift);
        prop_assert_eq!(divide_half_even(n, d), quotient(n, d));
    }

    #[test]
    fn exact_halves_divide_to_even(whole in any::<i64>(), half in 1..=u64::MAX) {
        let denominator = u128::from(half) * 2;
        let numerator = i128::from(whole >> 1).checked_mul(denominator as i128).and_then(|n| n.checked_add(i128::from(half)));
        if let Some(numerator) = numerator {
            prop_assert_eq!(divide_half_even(numerator, denominator), quotient(numerator, denominator));
        }
    }

    #[test]
    fn an_alphanumeric_id_survives_the_tick(text in "[A-Za-z0-9-]{1,14}") {
        let id = TradeId::from_text(text.as_bytes());
        prop_assert!(id.bits >> 88 == 0);
        prop_assert_eq!(id_text(id), text);
        prop_assert_eq!(tick_with(id).id(), id);
    }

    #[test]
    fn different_ids_are_told_apart(a in "0{0,3}[0-9]{1,30}|[A-Za-z0-9-]{1,40}", b in "0{0,3}[0-9]{1,30}|[A-Za-z0-9-]{1,40}") {
        let same = TradeId::from_text(a.as_bytes()) == TradeId::from_text(b.as_bytes());
        prop_assert_eq!(same, a == b);
    }

    #[test]
    fn a_number_below_2_to_the_88_is_kept_as_one(bits in 0..1u128 << 88, shift in 0..88u32) {
        let text = (bits >> shift).to_string();
        let id = TradeId::from_text(text.as_bytes());
        prop_assert_eq!((id.form, id.bits), (IdForm::Number, bits >> shift));
        prop_assert_eq!(id_text(id), text);
        prop_assert_eq!(tick_with(id).id(), id);
    }

    #[test]
    fn a_time_is_shown_in_utc_to_the_microsecond_below(ns in any::<i64>()) {
        let shown = UnixNanos(ns).to_string();
        let (days, us) = (ns.div_euclid(86_400_000_000_000), ns.rem_euclid(86_400_000_000_000) / 1_000);
        let (year, month, day) = civil(days);
        let (s, fraction) = (us / 1_000_000, us % 1_000_000);
        let right =
            format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z", s / 3600, s / 60 % 60, s % 60);
        prop_assert_eq!(shown, right);
    }

    #[test]
    fn a_floor_is_the_multiple_at_or_before(ns in any::<i64>(), step in 1..=86_400_000_000_000i64) {
        let floor = UnixNanos(ns).floor(tickwire::model::Nanos(step)).0;
        prop_assert!(floor <= ns);
        prop_assert!(floor == i64::MIN || (floor % step == 0 && ns.abs_diff(floor) < step as u64));
    }
}

fn wide() -> impl Strategy<Value = u128> {
    prop_oneof![
        any::<u128>(),
        Just(u128::MAX),
        Just(1 << 127),
        Just((1 << 127) - 1),
        Just((1 << 127) + 1),
        Just(u128::from(u64::MAX)),
        Just(1 << 64),
        0..4u128,
    ]
}

fn quotient(numerator: i128, denominator: u128) -> Option<i128> {
    if denominator == 0 {
        return None;
    }
    let (n, d) = (BigInt::from(numerator), BigInt::from(denominator));
    let twice_floor: BigInt =
        &n * 2 / &d - BigInt::from(i32::from(numerator < 0 && &n * 2 % &d != BigInt::default()));
    let exact_half = (&n * 2) % &d == BigInt::default();
    // Twice the quotient, rounded down: even is below the half, odd is at it or above.
    let two = BigInt::from(2);
    let down = (&twice_floor - ((&twice_floor % &two) + &two) % &two) / &two;
    let odd = (&twice_floor - &down * &two) == BigInt::from(1);
    let down_is_odd = &down % &two != BigInt::default();
    let up = odd && (!exact_half || down_is_odd);
    (down + BigInt::from(i32::from(up))).to_i128()
}

/// Days since 1970 as year, month and day, by counting them off.
fn civil(mut days: i64) -> (i64, i64, i64) {
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += 365 + i64::from(leap(year));
    }
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, days + 1)
}

fn id_text(id: TradeId) -> String {
    let mut out = Vec::new();
    id.write(&mut out);
    String::from_utf8(out).unwrap()
}

fn tick_with(id: TradeId) -> Tick {
    Tick::trade(SymbolId(7), UnixNanos(1), UnixNanos(2), Price(3), Size(4))
        .with_sequence(u64::MAX)
        .with_id(id)
}

#[test]
fn each_form_of_a_number_reads_as_json_has_it() {
    use NumberError::{Malformed, OutOfRange};
    let exact = |units: i128| Ok((Price(units as i64), false));
    let rounded = |units: i128| Ok((Price(units as i64), true));
    let one = 1_000_000_000;
    let zeros = "0".repeat(200_000);
    type Outcome = Result<(Price, bool), NumberError>;
    let table: &[(&str, Outcome)] = &[
        ("0", exact(0)),
        ("-0", exact(0)),
        ("0.0", exact(0)),
        ("-0.0", exact(0)),
        ("0e0", exact(0)),
        ("0e999999999999999999999", exact(0)),
        ("0.000e400", exact(0)),
        ("1", exact(one)),
        ("-1", exact(-one)),
        ("1.5", exact(one * 3 / 2)),
        ("1.50", exact(one * 3 / 2)),
        ("1e0", exact(one)),
        ("1E0", exact(one)),
        ("1e+0", exact(one)),
        ("1e-0", exact(one)),
        ("1e00", exact(one)),
        ("10e-1", exact(one)),
        ("0.1e1", exact(one)),
        ("1e9", exact(one * one)),
        ("1e-9", exact(1)),
        ("3.844E-5", exact(38_440)),
        ("1.0000000000000000000000000000000", exact(one)),
        ("0.000000001", exact(1)),
        ("0.0000000001", rounded(0)),
        ("0.0000000005", rounded(0)),
        ("0.00000000050000000000000000000000001", rounded(1)),
        ("0.0000000015", rounded(2)),
        ("0.0000000025", rounded(2)),
        ("-0.0000000015", rounded(-2)),
        ("-0.0000000025", rounded(-2)),
        ("1e-400", rounded(0)),
        ("5e-999999999999999999999", rounded(0)),
        ("9223372036.854775807", exact(i128::from(i64::MAX))),
        ("-9223372036.854775808", exact(i128::from(i64::MIN))),
        ("9223372036.8547758074", rounded(i128::from(i64::MAX))),
        ("9223372036.8547758075", Err(OutOfRange)),
        ("9223372036.854775808", Err(OutOfRange)),
        ("-9223372036.854775809", Err(OutOfRange)),
        ("1e10", Err(OutOfRange)),
        ("1e19", Err(OutOfRange)),
        ("1e308", Err(OutOfRange)),
        ("-1e308", Err(OutOfRange)),
        ("1e999999999999999999999", Err(OutOfRange)),
        ("1234567890123456789", Err(OutOfRange)),
        ("340282366920938463463374607431768211456", Err(OutOfRange)),
        ("", Err(Malformed)),
        ("-", Err(Malformed)),
        ("+", Err(Malformed)),
        (".", Err(Malformed)),
        ("1.", Err(Malformed)),
        (".5", Err(Malformed)),
        ("-.5", Err(Malformed)),
        ("+1", Err(Malformed)),
        ("--1", Err(Malformed)),
        ("01", Err(Malformed)),
        ("-01", Err(Malformed)),
        ("00", Err(Malformed)),
        ("0x10", Err(Malformed)),
        ("1e", Err(Malformed)),
        ("1e+", Err(Malformed)),
        ("e5", Err(Malformed)),
        ("1.e5", Err(Malformed)),
        ("1e5.0", Err(Malformed)),
        ("1e1e1", Err(Malformed)),
        ("1.2.3", Err(Malformed)),
        ("1,5", Err(Malformed)),
        ("1_000", Err(Malformed)),
        (" 1", Err(Malformed)),
        ("1 ", Err(Malformed)),
        ("1\n", Err(Malformed)),
        ("\"1.5\"", Err(Malformed)),
        ("NaN", Err(Malformed)),
        ("Infinity", Err(Malformed)),
        ("-Infinity", Err(Malformed)),
        ("inf", Err(Malformed)),
        ("null", Err(Malformed)),
        ("true", Err(Malformed)),
        ("1f", Err(Malformed)),
        ("\u{661}", Err(Malformed)),
        ("1\0", Err(Malformed)),
    ];
    for (text, right) in table {
        assert_eq!(Price::parse(text.as_bytes()), *right, "{text:?}");
    }
    // Long enough for its zeros to outweigh a large exponent.
    assert_eq!(Price::parse(format!("0.{zeros}1e200001").as_bytes()), exact(one));
    assert_eq!(Price::parse(format!("1{zeros}e-200000").as_bytes()), exact(one));
}

#[test]
fn a_double_that_is_no_number_is_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Price::from_f64(value), Err(NumberError::Malformed));
    }
    assert_eq!(Price::from_f64(-0.0), Ok((Price(0), false)));
    assert_eq!(Price::from_f64(0.1 + 0.2), Ok((Price(300_000_000), true)));
    assert_eq!(Price::from_f64(f64::MAX), Err(NumberError::OutOfRange));
    assert_eq!(Price::from_f64(f64::MIN_POSITIVE), Ok((Price(0), true)));
}

#[test]
fn a_size_is_never_negative() {
    assert_eq!(Size::parse(b"-1"), Err(NumberError::OutOfRange));
    assert_eq!(Size::from_int(-1), Err(NumberError::OutOfRange));
    assert_eq!(Size::parse(b"-0"), Ok((Size(0), false)));
    assert_eq!(Size::parse(b"-0.000000001"), Ok((Size(0), true)));
    assert_eq!(Size::parse(b"184467440737.09551615"), Ok((Size(u64::MAX), false)));
    assert_eq!(Size::parse(b"184467440737.09551616"), Err(NumberError::OutOfRange));
}

#[test]
fn division_holds_at_the_ends_of_the_range() {
    let ends = [i128::MIN, i128::MIN + 1, -3, -2, -1, 0, 1, 2, 3, i128::MAX - 1, i128::MAX];
    let below =
        [0, 1, 2, 3, u128::from(u64::MAX), 1 << 64, (1 << 127) - 1, 1 << 127, (1 << 127) + 1, u128::MAX];
    for numerator in ends {
        for denominator in below {
            let right = quotient(numerator, denominator);
            assert_eq!(divide_half_even(numerator, denominator), right, "{numerator} / {denominator}");
        }
    }
}

#[test]
fn no_volume_has_no_vwap() {
    assert_eq!(Notional(5).vwap(Volume(0)), None);
}

#[test]
fn an_id_beyond_88_bits_is_a_digest_of_88_bits() {
    let largest = ((1u128 << 88) - 1).to_string();
    assert_eq!(TradeId::from_text(largest.as_bytes()).form, IdForm::Number);
    let id = TradeId::from_text((1u128 << 88).to_string().as_bytes());
    assert_eq!(id.form, IdForm::Digest);
    assert!(id.bits >> 88 == 0);
    assert_eq!(tick_with(id).id(), id);
    assert_eq!(id_text(id).len(), 23);
}

#[test]
fn ids_that_look_alike_are_different() {
    let texts = ["0", "00", "000", "7", "07", "007", "-7", "A", "a", "A0", "0A", "-", "--"];
    let ids: HashSet<TradeId> = texts.iter().map(|text| TradeId::from_text(text.as_bytes())).collect();
    assert_eq!(ids.len(), texts.len());
    assert_eq!(TradeId::from_text(b"42"), TradeId::from_u64(42));
    assert_eq!(TradeId::from_text(b""), TradeId::NONE);
}

#[test]
fn long_ids_that_count_up_are_all_different() {
    let ids: HashSet<TradeId> = (0..200_000)
        .map(|n| TradeId::from_text(format!("trade-2026-02-07-venue-{n:09}").as_bytes()))
        .collect();
    assert_eq!(ids.len(), 200_000);
}

#[test]
fn a_symbol_needs_no_escape_and_is_no_wildcard() {
    for byte in 0..=255u8 {
        let good = byte.is_ascii_graphic() && !b"\"\\*,".contains(&byte);
        assert_eq!(Symbol::new(&[b'A', byte]).is_ok(), good, "byte {byte}");
    }
    assert_eq!(Symbol::new(b""), Err(SymbolError::Empty));
    assert_eq!(Symbol::new(&[b'A'; 33]), Err(SymbolError::TooLong));
    assert_eq!(Symbol::new(&[b'A'; 32]).unwrap().as_str(), "A".repeat(32));
    assert_eq!(Symbol::new(b"BRK.B").unwrap().to_string(), "BRK.B");
}

#[test]
fn names_spread_over_the_shards() {
    for shards in [1, 2, 3, 7] {
        let mut counts = vec![0; shards];
        for n in 0..7_000 {
            counts[Symbol::new(format!("S{n}").as_bytes()).unwrap().shard(shards)] += 1;
        }
        let fair = 7_000 / shards;
        assert!(counts.iter().all(|&n| n > fair * 8 / 10 && n < fair * 12 / 10), "{counts:?}");
    }
}

#[test]
fn a_full_table_refuses_new_names_and_knows_the_old() {
    let table = SymbolTable::new(2);
    let mut cache = SymbolCache::new(table.clone());
    assert_eq!(cache.intern(b"A"), Ok(SymbolId(0)));
    assert_eq!(cache.intern(b"B"), Ok(SymbolId(1)));
    assert_eq!(cache.intern(b"C"), Err(SymbolError::TableFull));
    assert_eq!(cache.intern(b"A"), Ok(SymbolId(0)));
    assert_eq!(cache.intern(b"a b"), Err(SymbolError::Unprintable));
    assert_eq!(table.len(), 2);
    assert_eq!(cache.name(SymbolId(1)).unwrap().as_str(), "B");
    assert!(cache.name(SymbolId(2)).is_none() && cache.name(SymbolId::ANY).is_none());
}

#[test]
fn threads_that_race_for_names_agree_on_dense_numbers() {
    let (threads, names, bound) = (4, 2_000, 1_500);
    let table = SymbolTable::new(bound);
    let barrier = Barrier::new(threads);
    let seen: Vec<Vec<Option<SymbolId>>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..threads)
            .map(|thread| {
                let (table, barrier) = (table.clone(), &barrier);
                scope.spawn(move || {
                    let mut cache = SymbolCache::new(table);
                    let mut ids = vec![None; names];
                    barrier.wait();
                    for i in 0..names {
                        // Each walks the names from another place, so that most are contended.
                        let name = (i + thread * names / threads) % names;
                        ids[name] = cache.intern(format!("N{name}").as_bytes()).ok();
                    }
                    ids
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(table.len(), bound);
    let mut given = HashSet::new();
    for name in 0..names {
        let ids: HashSet<SymbolId> = seen.iter().filter_map(|ids| ids[name]).collect();
        assert!(ids.len() <= 1, "N{name} has {ids:?}");
        for id in ids {
            assert!(given.insert(id) && id.index() < bound);
            assert_eq!(table.name(id).unwrap().as_str(), format!("N{name}"));
        }
    }
    assert_eq!(given.len(), bound);
}

#[test]
fn a_timeframe_is_a_whole_part_of_a_day() {
    for (text, label) in
        [("1s", "1s"), ("60s", "1m"), ("90s", "90s"), ("5m", "5m"), ("60m", "1h"), ("24h", "1d")]
    {
        assert_eq!(text.parse::<Timeframe>().unwrap().to_string(), label);
    }
    for text in ["", "m", "1", "1x", "-1m", "+1m", "1.5m", "1 m", "1M", "5min", "\u{661}m", "1\u{b5}"] {
        assert!(matches!(text.parse::<Timeframe>(), Err(TimeframeError::Malformed(_))), "{text:?}");
    }
    for text in ["0s", "0d", "7m", "2d", "25h", "86401s", "4294967295d"] {
        assert!(matches!(text.parse::<Timeframe>(), Err(TimeframeError::NotInDay(_))), "{text:?}");
    }
}

#[test]
fn each_timeframe_is_built_from_the_coarsest_that_divides_it() {
    let set = Timeframes::parse("1d, 10s,1m,15m ,1s,4m,1h,1m").unwrap();
    assert_eq!(set.to_string(), "1s,10s,1m,4m,15m,1h,1d");
    let children: Vec<&str> = (1..set.len()).map(|level| set.label(set.child(level))).collect();
    assert_eq!(children, ["1s", "10s", "1m", "1m", "15m", "1h"]);
    assert_eq!((set.level("60s"), set.level("2m"), set.level("x")), (Some(2), None, None));
    assert_eq!((set.label(99), set.get(99)), ("", None));
}

#[test]
fn timeframes_that_do_not_nest_are_refused() {
    assert!(matches!(Timeframes::parse("2s,3s"), Err(TimeframeError::DoesNotNest { .. })));
    assert!(Timeframes::parse("1s,2s,3s").is_ok());
    assert!(matches!(Timeframes::parse(""), Err(TimeframeError::Malformed(_))));
    assert!(matches!(Timeframes::new(&[]), Err(TimeframeError::Count(0))));
    let divisors = (1..=86_400).filter(|n| 86_400 % n == 0);
    let many: Vec<Timeframe> = divisors.map(|s| format!("{s}s").parse().unwrap()).collect();
    assert!(Timeframes::new(&many[..Timeframes::MAX]).is_ok());
    assert!(matches!(Timeframes::new(&many[..=Timeframes::MAX]), Err(TimeframeError::Count(33))));
}
