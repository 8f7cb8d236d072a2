//! What the shipped books say of single trades, and what is wrong with books that are none.

use super::*;
use crate::model::{Price, Size, SymbolId, UnixNanos};

const NOTHING: &str = "";
const VOLUME: &str = "volume";
const ALL: &str = "open-close high-low volume";
const FIRST: &str = "first high-low volume";

/// 2013-10-08 11:00 and 08:00 in New York.
const REGULAR: UnixNanos = UnixNanos(1_381_244_400_000_000_000);
const BEFORE: UnixNanos = UnixNanos(1_381_233_600_000_000_000);

fn moved(left: Fields) -> &'static str {
    let named = [(NOTHING, 15), (VOLUME, 7), (ALL, 0), (FIRST, 2), ("open-close high-low", 8)];
    named.into_iter().find(|&(_, bits)| Fields(bits) == left).map_or("otherwise", |(name, _)| name)
}

fn rules(choice: &str, written: Coding) -> Rules {
    let choice = Choice::find(choice).unwrap();
    Rules::new(&Conditions::new(&[choice], &[("feed", Some(written))]).unwrap())
}

fn says(rules: &Rules, conditions: [u8; 4], tape: u8, at: UnixNanos) -> (&'static str, &'static str, bool) {
    let mut tick = Tick::trade(SymbolId(0), at, at, Price(1), Size(1)).with_tape(tape);
    tick.conditions = conditions;
    let Leaves { intraday, daily, unknown } = rules.of(&tick);
    (moved(intraday), moved(daily), unknown)
}

#[test]
fn the_tapes_letters_are_read_by_tape() {
    let rules = rules("us-equities", Coding::Letters);
    let of = |letters: &[u8], tape| {
        let mut codes = [0; 4];
        codes[..letters.len()].copy_from_slice(letters);
        let (minute, daily, unknown) = says(&rules, codes, tape, REGULAR);
        assert!(!unknown, "{letters:?}");
        (minute, daily)
    };
    assert_eq!(of(b"", 1), (ALL, ALL));
    assert_eq!(of(b"@F", 3), (ALL, ALL));
    // B is an average price on tapes A and B, and a bunched trade on C; where the tape is unknown, the stricter.
    assert_eq!(of(b"B", 1), (VOLUME, VOLUME));
    assert_eq!(of(b"B", 2), (VOLUME, VOLUME));
    assert_eq!(of(b"B", 3), (ALL, ALL));
    assert_eq!(of(b"B", 0), (VOLUME, VOLUME));
    assert_eq!(of(b"P", 1), (VOLUME, FIRST));
    assert_eq!(of(b"M", 3), (NOTHING, NOTHING));
    assert_eq!(of(b"9", 1), (NOTHING, "open-close high-low"));
    // The vendor's own example of several: an odd lot beats a derivative price.
    assert_eq!(of(b"@4I", 3), (VOLUME, VOLUME));
    assert_eq!(of(b"@4", 3), (VOLUME, FIRST));
    assert!(says(&rules, *b"A\0\0\0", 1, REGULAR).2, "acquisition has a letter on tape C only");
    assert!(!says(&rules, *b"A\0\0\0", 0, REGULAR).2);
}

#[test]
fn extended_hours_trades_make_prices_outside_regular_hours_only_and_never_a_days() {
    let rules = rules("us-equities", Coding::Massive);
    assert_eq!(says(&rules, [12, 0, 0, 0], 1, BEFORE), (ALL, VOLUME, false));
    assert_eq!(says(&rules, [12, 37, 0, 0], 1, BEFORE), (VOLUME, VOLUME, false));
    assert_eq!(says(&rules, [12, 0, 0, 0], 1, REGULAR), (VOLUME, VOLUME, false));
    assert_eq!(says(&rules, [13, 0, 0, 0], 1, BEFORE), (VOLUME, VOLUME, false));
    // A trade before the open that says nothing of it is as good as any.
    assert_eq!(says(&rules, [14, 0, 0, 0], 1, BEFORE), (ALL, ALL, false));
}

#[test]
fn a_code_in_no_row_holds_nothing_back_and_is_told() {
    let rules = rules("us-equities", Coding::Massive);
    assert_eq!(says(&rules, [200, 0, 0, 0], 1, REGULAR), (ALL, ALL, true));
    assert_eq!(says(&rules, [0, 0, 0, 37], 1, REGULAR), (VOLUME, VOLUME, false));
    assert_eq!(says(&rules, [200, 37, 0, 0], 1, REGULAR), (VOLUME, VOLUME, true));
    assert_eq!(says(&rules, [0; 4], 1, REGULAR), (ALL, ALL, false));
}

#[test]
fn the_masks_bits_combine_as_the_tapes_letters_do() {
    let rules = rules("us-equities:lean", Coding::Lean);
    let of = |mask: u32, at| {
        let (minute, daily, _) = says(&rules, mask.to_le_bytes(), 0, at);
        (minute, daily)
    };
    assert_eq!(of(0x1, REGULAR), (ALL, ALL));
    assert_eq!(of(0x2000_0020, REGULAR), (ALL, ALL));
    assert_eq!(of(0x2010_0200, REGULAR), (VOLUME, VOLUME));
    assert_eq!(of(0x4800, REGULAR), (VOLUME, FIRST));
    assert_eq!(of(0x2000, BEFORE), (ALL, VOLUME));
    // Extended hours and out of sequence is U.
    assert_eq!(of(0x6000, BEFORE), (VOLUME, VOLUME));
    assert_eq!(of(0x8000_0001, REGULAR), (VOLUME, VOLUME));
    assert!(says(&rules, 0x4000_0000u32.to_le_bytes(), 0, REGULAR).2);
}

#[test]
fn a_condition_that_admits_lifts_those_that_yield_and_no_others() {
    let rules = rules("quantconnect", Coding::Lean);
    let of = |mask: u32| says(&rules, mask.to_le_bytes(), 0, REGULAR).0;
    assert_eq!(of(0x1), ALL);
    assert_eq!(of(0x20), VOLUME);
    assert_eq!(of(0x2000_0020), VOLUME);
    assert_eq!(of(0x2000_2020), ALL, "extended hours is included");
    assert_eq!(of(0x2000_0040), ALL, "so are opening prints");
    assert_eq!(of(0x2010_0200), VOLUME, "neither");
    assert_eq!(of(0x4800), ALL, "nothing excludes it");
    assert_eq!(of(0x100_0001), NOTHING, "an official close is no sale, whatever else it is");
}

#[test]
fn binance_trades_outside_the_book_move_nothing() {
    let rules = rules("binance", Coding::Binance);
    assert_eq!(says(&rules, [1, 0, 0, 0], 0, REGULAR), (NOTHING, NOTHING, false));
    assert_eq!(says(&rules, [0; 4], 0, REGULAR), (ALL, ALL, false));
}

#[test]
fn every_feed_gets_the_first_book_in_its_coding() {
    let choices = ["us-equities", "binance"].map(|name| Choice::find(name).unwrap());
    let feeds = [
        ("stocks", Some(Coding::Massive)),
        ("coins", Some(Coding::Binance)),
        ("letters", Some(Coding::Letters)),
        ("file", None),
    ];
    let conditions = Conditions::new(&choices, &feeds).unwrap();
    let of = |n: usize| conditions.of_source(n).map(|(book, coding)| (book.name.clone(), coding));
    assert_eq!(of(0), Some(("us-equities".to_owned(), Coding::Massive)));
    assert_eq!(of(1), Some(("binance".to_owned(), Coding::Binance)));
    assert_eq!(of(2), Some(("us-equities".to_owned(), Coding::Letters)));
    // A file's codes may be anything; the second book has but one coding.
    assert_eq!(of(3), Some(("binance".to_owned(), Coding::Binance)));
    let said = [Choice::find("us-equities:lean").unwrap()];
    let conditions = Conditions::new(&said, &feeds[2..]).unwrap();
    assert_eq!(conditions.of_source(0), None);
    assert_eq!(conditions.of_source(1).unwrap().1, Coding::Lean);
    let error = Conditions::new(&choices[..1], &feeds[3..]).unwrap_err();
    assert!(error.contains("us-equities:letters") && error.contains("massive, letters, lean"), "{error}");
}

#[test]
fn a_wrong_choice_or_table_says_what_would_be_right() {
    let choice = |text: &str| Choice::find(text).unwrap_err();
    assert!(choice("us-stocks").contains("us-equities"));
    assert!(choice("us-equities:binance").contains("massive, letters, lean"));
    assert!(choice("us-equities:letter").contains("massive, letters, lean, binance"));
    let head = "name = \"n\"\nabout = \"a\"\nas_of = \"2026-01-01\"\nsources = []\n";
    let say = |rows: &str| Book::read(&format!("{head}{rows}")).unwrap_err().to_string();
    let row =
        |rest: &str| format!("[[condition]]\nname = \"odd\"\nminute = \"volume\"\ncite = \"s\"\n{rest}\n");
    assert!(say(&row("")).contains("no code"));
    assert!(say(&row("massive = [0]")).contains("between 1 and 255"));
    assert!(say(&row("lean = [32]")).contains("between 0 and 31"));
    assert!(say(&format!("{}{}", row("cts = \"I\""), row("cts = \"I\""))).contains("already"));
    assert!(say(&row("cts = \"é\"")).contains("ASCII"));
    assert!(say(&row("massive = [1]\nextended = \"volume\"")).contains("[hours]"));
    assert!(say(&row("massive = [1]\ndaily = \"close\"")).contains("open-close, first, high-low, volume"));
    assert!(say(&row("massive = [1]\nadmits = true\nyields = true")).contains("both"));
    assert!(say(&row("massive = [1]\nopens = true")).contains("unknown field"));
    assert!(say(&row("massive = [1]").replace("\"s\"", "\" \"")).contains("cite"));
    for (_, table) in SHIPPED {
        Book::read(table).unwrap();
    }
}
