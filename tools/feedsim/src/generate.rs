//! Ticks out of a seed: few symbols have most of the sales (Zipf), and there are bursts at the open and on each minute.
//!
//! Open-loop: what is due depends on the time alone, never on how fast anyone reads. All that is due in one millisecond
//! shares it, as half of all real trades share theirs with the one before.

use crate::decimal::ONE;
use crate::event::{Event, Quote, Sale, Source, Symbols};
use crate::random::Random;

/// How long the burst at the open lasts, ms.
const OPEN_MS: i64 = 2_000;
/// How long the burst at a minute lasts, ms.
const MINUTE_BURST_MS: i64 = 250;
const MINUTE_MS: i64 = 60_000;
const CENT: i128 = ONE / 100;
/// Codes with no say in what a bar is; the vendor's numbers for an intermarket sweep and an odd lot.
const CONDITIONS: [u8; 2] = [14, 37];

/// How a venue's day is made.
#[derive(Debug, Clone)]
pub struct Habits {
    /// How many symbols trade.
    pub symbols: usize,
    /// The n-th symbol has n to the minus this of the first one's sales; 0: all alike.
    pub zipf: f64,
    /// Sales and quotes a second over all symbols, outside bursts.
    pub rate: f64,
    /// So many times the rate at the open.
    pub open_factor: f64,
    /// So many times the rate on the minute.
    pub minute_factor: f64,
    /// Share of events that are quotes.
    pub quotes: f64,
    /// Share of sales with condition codes.
    pub conditions: f64,
    /// Share of sales of a fraction of a share; of a coin it is all.
    pub fractions: f64,
    /// Trade ids are the sequence, from 1 without a gap, sizes are fractions: a crypto venue.
    pub contiguous: bool,
}

struct Symbol {
    price: i128,
    sequence: u64,
}

/// The source.
pub struct Generator {
    habits: Habits,
    random: Random,
    symbols: Vec<Symbol>,
    /// Up to which share of all sales those up to a symbol have theirs.
    shares: Vec<f64>,
    start_ms: i64,
    end_ms: i64,
    next_ms: i64,
    owed: f64,
}

impl Generator {
    /// Adds the symbols to the table and begins at `start_ms`, for `for_ms`.
    pub fn new(habits: Habits, seed: u64, symbols: &mut Symbols, start_ms: i64, for_ms: i64) -> Self {
        let mut random = Random::new(seed);
        let mut shares = Vec::with_capacity(habits.symbols);
        let mut sum = 0.0;
        let mut all = Vec::with_capacity(habits.symbols);
        for place in 0..habits.symbols {
            let name = format!("SIM{place:03}{}", if habits.contiguous { "USDT" } else { "" });
            symbols.place(&name);
            sum += ((place + 1) as f64).powf(-habits.zipf);
            shares.push(sum);
            all.push(Symbol { price: i128::from(1_000 + random.below(50_000)) * CENT, sequence: 0 });
        }
        shares.iter_mut().for_each(|share| *share /= sum);
        Self {
            habits,
            random,
            symbols: all,
            shares,
            start_ms,
            end_ms: start_ms.saturating_add(for_ms),
            next_ms: start_ms,
            owed: 0.0,
        }
    }

    fn rate(&self, at_ms: i64) -> f64 {
        let open = at_ms - self.start_ms < OPEN_MS;
        let minute = at_ms.rem_euclid(MINUTE_MS) < MINUTE_BURST_MS;
        let factor = match (open, minute) {
            (true, _) => self.habits.open_factor,
            (_, true) => self.habits.minute_factor,
            _ => 1.0,
        };
        self.habits.rate * factor
    }

    fn one(&mut self, at_ms: i64) -> Event {
        let Self { habits, random, symbols, shares, .. } = self;
        let dice = random.unit();
        let place = shares.partition_point(|&share| share <= dice).min(symbols.len() - 1);
        let symbol = &mut symbols[place];
        // A step of up to two cents, and sales between cents now and then.
        symbol.price = (symbol.price + (i128::from(random.below(5)) - 2) * CENT).max(CENT);
        symbol.sequence += if habits.contiguous { 1 } else { 1 + random.below(3) };
        let sequence = symbol.sequence;
        if random.chance(habits.quotes) {
            // A venue without gaps numbers its sales alone.
            symbol.sequence -= u64::from(habits.contiguous);
            let size = |random: &mut Random| i128::from(1 + random.below(9)) * 100 * ONE;
            let bid = (symbol.price, size(random));
            let ask = (symbol.price + CENT, size(random));
            return Event::Quote(Quote { symbol: place, at_ms, sequence, bid, ask });
        }
        let between = if random.chance(0.1) { CENT / 2 } else { 0 };
        let fraction = habits.contiguous || random.chance(habits.fractions);
        let size = if fraction {
            i128::from(1 + random.below(5_000_000)) * (ONE / 100_000)
        } else {
            i128::from(1 + random.below(400)) * ONE
        };
        let conditions = if random.chance(habits.conditions) {
            vec![CONDITIONS[random.index(CONDITIONS.len())]]
        } else {
            Vec::new()
        };
        Event::Sale(Sale {
            symbol: place,
            at_ms,
            price: symbol.price + between,
            size,
            id: sequence.to_string(),
            sequence,
            venue: 4 + random.below(8) as u8,
            tape: 1 + random.below(3) as u8,
            conditions,
            buyer_is_maker: random.chance(0.5),
        })
    }
}

impl Source for Generator {
    fn take_until(&mut self, now_ms: i64, out: &mut Vec<Event>) {
        while self.next_ms <= now_ms && !self.is_over() {
            let at = self.next_ms;
            self.owed += self.rate(at) / 1_000.0;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                let event = self.one(at);
                out.push(event);
            }
            self.next_ms += 1;
        }
    }

    fn is_over(&self) -> bool {
        self.next_ms >= self.end_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn habits() -> Habits {
        Habits {
            symbols: 50,
            zipf: 1.0,
            rate: 5_000.0,
            open_factor: 4.0,
            minute_factor: 3.0,
            quotes: 0.2,
            conditions: 0.1,
            fractions: 0.1,
            contiguous: false,
        }
    }

    fn day(habits: &Habits, seed: u64, step_ms: i64) -> Vec<Event> {
        let mut symbols = Symbols::default();
        let mut source = Generator::new(habits.clone(), seed, &mut symbols, 1_800_000_000_000, 10_000);
        let (mut out, mut now) = (Vec::new(), 1_800_000_000_000);
        while !source.is_over() {
            source.take_until(now, &mut out);
            now += step_ms;
        }
        out
    }

    #[test]
    fn a_seed_says_it_all_however_often_it_is_asked() {
        let day_1 = day(&habits(), 7, 1);
        assert_eq!(day_1, day(&habits(), 7, 777));
        assert_ne!(day_1, day(&habits(), 8, 1));
    }

    #[test]
    fn the_rate_is_kept_and_bursts_come_at_the_open() {
        let all = day(&habits(), 1, 1);
        // Two seconds at four times the rate, eight at once the rate; the start is on no minute's edge past the open.
        assert!((all.len() as i64 - 80_000).abs() < 1_500, "{} events", all.len());
        let sales = |place: usize| {
            let is = |event: &&Event| matches!(event, Event::Sale(sale) if sale.symbol == place);
            all.iter().filter(is).count()
        };
        assert!(
            sales(0) > 3 * sales(5) && sales(5) > 2 * sales(40),
            "{} {} {}",
            sales(0),
            sales(5),
            sales(40)
        );
    }

    #[test]
    fn a_crypto_venue_numbers_its_sales_without_a_gap() {
        let all = day(&Habits { contiguous: true, ..habits() }, 3, 5);
        let mut next = [1; 50];
        for event in &all {
            if let Event::Sale(sale) = event {
                assert_eq!(sale.sequence, next[sale.symbol]);
                next[sale.symbol] += 1;
            }
        }
    }
}
