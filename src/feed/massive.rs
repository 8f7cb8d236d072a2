//! Massive (once Polygon.io), US stocks: JSON arrays of events, one array a message. `T` and `Q` become ticks; times are in ms.
//!
//! Field names and units: <https://massive.com/docs/websocket/stocks/trades> and `…/quotes`. The decimal size `ds` wins over
//! `s`. Condition code 0 is a regular sale and takes no place. `A`, `AM` and everything else is skipped by type.

use crate::model::{Price, Size, Tick, TradeId, Venue};

use super::dialect::Dialect;
use super::field::{Context, Number, notional};
use super::json::{Fault, Field, Json, Scalar, Value, required};
use super::reject::Reason;

/// The dialect.
#[derive(Default)]
pub struct Massive {
    json: Json,
}

impl Dialect for Massive {
    fn parse(&mut self, line: &mut [u8], cx: &mut Context<'_>, out: &mut Vec<Tick>) {
        self.json.read(line, cx, &mut |value, cx| match event(value, cx) {
            Ok(Some(tick)) => {
                cx.tallies.accept(&tick);
                out.push(tick);
            }
            Ok(None) => {}
            Err((reason, what)) => cx.tallies.reject(reason, what.show().as_bytes(), cx.now),
        });
    }
}

#[derive(Default)]
struct Fields<'t, 'i> {
    ev: Field<'i>,
    sym: Field<'i>,
    p: Field<'i>,
    s: Field<'i>,
    ds: Field<'i>,
    t: Field<'i>,
    q: Field<'i>,
    i: Field<'i>,
    x: Field<'i>,
    z: Field<'i>,
    trfi: Field<'i>,
    bx: Field<'i>,
    bp: Field<'i>,
    bs: Field<'i>,
    ax: Field<'i>,
    ap: Field<'i>,
    r#as: Field<'i>,
    c: Option<Value<'t, 'i>>,
}

/// One event: a tick, or `None` where its type was skipped.
fn event<'i>(value: Value<'_, 'i>, cx: &mut Context<'_>) -> Result<Option<Tick>, Fault<'i>> {
    let mut f = Fields::default();
    let is_object = value.fields(|key, value| {
        let slot = match key {
            "ev" => &mut f.ev,
            "sym" => &mut f.sym,
            "p" => &mut f.p,
            "s" => &mut f.s,
            "ds" => &mut f.ds,
            "t" => &mut f.t,
            "q" => &mut f.q,
            "i" => &mut f.i,
            "x" => &mut f.x,
            "z" => &mut f.z,
            "trfi" => &mut f.trfi,
            "bx" => &mut f.bx,
            "bp" => &mut f.bp,
            "bs" => &mut f.bs,
            "ax" => &mut f.ax,
            "ap" => &mut f.ap,
            "as" => &mut f.r#as,
            "c" => {
                f.c = Some(value);
                return;
            }
            _ => return,
        };
        *slot = value.field();
    });
    if !is_object {
        return Err((Reason::WrongType, value.scalar()));
    }
    match required(f.ev, "ev")?.text()? {
        "T" => trade(&f, cx).map(Some),
        "Q" => quote(&f, cx).map(Some),
        other => {
            cx.tallies.skip(other);
            Ok(None)
        }
    }
}

fn trade<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.sym, "sym")?.text()?;
    let p = required(f.p, "p")?;
    let price = cx.price(p.number()?).map_err(|reason| (reason, p))?;
    let (s, number) = match f.ds {
        Some(ds) => (ds, Number::Text(ds.text()?.as_bytes())),
        None => {
            let s = required(f.s, "s")?;
            (s, s.number()?)
        }
    };
    let size = cx.size(number).map_err(|reason| (reason, s))?;
    notional(price, size).map_err(|reason| (reason, p))?;
    let t = f.t.ok_or((Reason::TimeMissing, Scalar::Text("t")))?;
    let at = cx.time_ms(t.millis()?).map_err(|reason| (reason, t))?;
    let sequence = f.q.map(Scalar::int::<u64>).transpose()?;
    let id = f.i.map(Scalar::text).transpose()?;
    let venue = f.x.map(Scalar::int::<u8>).transpose()?;
    let tape = f.z.map(Scalar::int::<u8>).transpose()?;
    if tape.is_some_and(|tape| tape > 3) {
        return Err((Reason::BadNumber, f.z.unwrap_or(Scalar::Null)));
    }
    let trf = f.trfi.map(Scalar::int::<u8>).transpose()?;
    let (conditions, cut) = conditions(f.c)?;
    let symbol = cx.symbol(name.as_bytes()).map_err(|reason| (reason, Scalar::Text(name)))?;
    cx.tallies.conditions_cut += u64::from(cut);
    let mut tick = Tick::trade(symbol, at, cx.now, price, size)
        .with_id(TradeId::from_text(id.unwrap_or("").as_bytes()))
        .with_venue(Venue(venue.unwrap_or(0)))
        .with_tape(tape.unwrap_or(0));
    if let Some(sequence) = sequence {
        tick = tick.with_sequence(sequence);
    }
    tick.trf = trf.unwrap_or(0);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

fn quote<'i>(f: &Fields<'_, 'i>, cx: &mut Context<'_>) -> Result<Tick, Fault<'i>> {
    let name = required(f.sym, "sym")?.text()?;
    let mut side = |price: Field<'i>, size: Field<'i>| -> Result<(Price, Size), Fault<'i>> {
        let price = match price {
            Some(p) => cx.side_price(p.number()?).map_err(|reason| (reason, p))?,
            None => Price(0),
        };
        let size = match size {
            Some(s) => cx.size(s.number()?).map_err(|reason| (reason, s))?,
            None => Size(0),
        };
        Ok((price, size))
    };
    let bid = side(f.bp, f.bs)?;
    let ask = side(f.ap, f.r#as)?;
    if bid.0 == Price(0) && ask.0 == Price(0) {
        return Err((Reason::PriceZero, f.bp.or(f.ap).unwrap_or(Scalar::Null)));
    }
    let t = f.t.ok_or((Reason::TimeMissing, Scalar::Text("t")))?;
    let at = cx.time_ms(t.millis()?).map_err(|reason| (reason, t))?;
    let bid_venue = f.bx.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let ask_venue = f.ax.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let tape = f.z.map(Scalar::int::<u8>).transpose()?.unwrap_or(0);
    let (conditions, _) = conditions(f.c)?;
    let symbol = cx.symbol(name.as_bytes()).map_err(|reason| (reason, Scalar::Text(name)))?;
    let mut tick = Tick::quote(symbol, at, cx.now, bid, ask)
        .with_quote_venues(Venue(bid_venue), Venue(ask_venue))
        .with_tape(tape);
    tick.source = cx.source;
    tick.conditions = conditions;
    Ok(tick)
}

/// Up to four codes, of a trade's array or a quote's number, and whether there were more.
fn conditions<'i>(field: Option<Value<'_, 'i>>) -> Result<([u8; 4], bool), Fault<'i>> {
    let mut codes = [0; 4];
    let mut n = 0;
    let mut fault = None;
    let mut take = |scalar: Scalar<'i>| match scalar.int::<u8>() {
        Ok(0) => {}
        Ok(code) => {
            if let Some(slot) = codes.get_mut(n) {
                *slot = code;
            }
            n += 1;
        }
        Err(error) => fault = Some(error),
    };
    if let Some(value) = field
        && !value.elements(|element| take(element.scalar()))
        && let Some(scalar) = value.field()
    {
        take(scalar);
    }
    match fault {
        Some(fault) => Err(fault),
        None => Ok((codes, n > codes.len())),
    }
}
