//! Parts of an event that several vendors write alike: a symbol's name, a time in ms, lists of codes, the two sides of a quote.

use crate::model::{Price, Size, SymbolId, UnixNanos};

use super::field::Context;
use super::json::{Fault, Field, Scalar, Value};
use super::reject::Reason;

/// The number of a name. Ask it last: what is rejected for another reason must not fill the table.
#[inline]
pub fn symbol<'i>(name: &'i str, cx: &mut Context<'_>) -> Result<SymbolId, Fault<'i>> {
    cx.symbol(name.as_bytes()).map_err(|reason| (reason, Scalar::Text(name)))
}

/// A time in whole milliseconds, by the name that its field has.
#[inline]
pub fn time_ms<'i>(field: Field<'i>, name: &'static str, cx: &Context<'_>) -> Result<UnixNanos, Fault<'i>> {
    let t = field.ok_or((Reason::TimeMissing, Scalar::Text(name)))?;
    cx.time_ms(t.millis()?).map_err(|reason| (reason, t))
}

/// Every element of an array, or the one value that stands in its place. All are read; the last that is wrong decides.
pub fn each<'i>(
    field: Option<Value<'_, 'i>>,
    mut read: impl FnMut(Scalar<'i>) -> Result<(), Fault<'i>>,
) -> Result<(), Fault<'i>> {
    let mut outcome = Ok(());
    let mut take = |scalar: Scalar<'i>| {
        if let Err(fault) = read(scalar) {
            outcome = Err(fault);
        }
    };
    if let Some(value) = field
        && !value.elements(|element| take(element.scalar()))
        && let Some(scalar) = value.field()
    {
        take(scalar);
    }
    outcome
}

/// Up to four codes, and whether there were more. `read` says which a scalar is, if any.
pub fn codes<'i>(
    field: Option<Value<'_, 'i>>,
    read: impl Fn(Scalar<'i>) -> Result<Option<u8>, Fault<'i>>,
) -> Result<([u8; 4], bool), Fault<'i>> {
    let (mut codes, mut n) = ([0; 4], 0);
    each(field, |scalar| {
        if let Some(code) = read(scalar)? {
            if let Some(slot) = codes.get_mut(n) {
                *slot = code;
            }
            n += 1;
        }
        Ok(())
    })?;
    Ok((codes, n > codes.len()))
}

/// Bid and ask of a quote, each a price and a size in JSON numbers. A side may be absent, and is 0 then; not both.
pub fn sides<'i>(
    bid: (Field<'i>, Field<'i>),
    ask: (Field<'i>, Field<'i>),
    cx: &mut Context<'_>,
) -> Result<[(Price, Size); 2], Fault<'i>> {
    let mut side = |(price, size): (Field<'i>, Field<'i>)| -> Result<(Price, Size), Fault<'i>> {
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
    let sides = [side(bid)?, side(ask)?];
    if sides.iter().all(|(price, _)| *price == Price(0)) {
        return Err((Reason::PriceZero, bid.0.or(ask.0).unwrap_or(Scalar::Null)));
    }
    Ok(sides)
}
