//! Fields of the engine's messages, read straight from their text: exact, and cheap enough for millions.

use crate::model::ModelBar;

/// The value after `"name":`, without quotes.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(name)?;
        let rest = &text[at + name.len()..];
        from = at + name.len();
        let quoted = at > 0 && text.as_bytes()[at - 1] == b'"';
        let Some(value) = rest.strip_prefix("\":").filter(|_| quoted) else { continue };
        return Some(match value.strip_prefix('"') {
            Some(value) => &value[..value.find('"')?],
            None => &value[..value.find([',', '}']).unwrap_or(value.len())],
        });
    }
}

pub fn number(text: &str, name: &str) -> Result<u64, String> {
    let value = field(text, name).ok_or_else(|| format!("no {name} in {text}"))?;
    value.parse().map_err(|_| format!("{name} is no number in {text}"))
}

/// The objects of a JSON array of objects. No string in them has a brace.
pub fn items(array: &str) -> Vec<&str> {
    let (mut items, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, byte) in array.bytes().enumerate() {
        match byte {
            b'{' => {
                if depth == 0 {
                    from = at;
                }
                depth += 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    items.push(&array[from..=at]);
                }
            }
            _ => {}
        }
    }
    items
}

/// Decimal text in units of 10^-places.
pub fn units(text: &str, places: usize) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > places {
        return None;
    }
    let digits = format!("{whole}{part:0<places$}");
    digits.parse().ok()
}

pub fn bar(data: &str) -> Result<ModelBar, String> {
    let read = |name: &str, places| {
        field(data, name).and_then(|text| units(text, places)).ok_or_else(|| format!("no {name} in {data}"))
    };
    let vwap = match field(data, "vwap") {
        Some("null") => None,
        _ => Some(read("vwap", 9)?),
    };
    Ok(ModelBar {
        open: read("open", 9)?,
        high: read("high", 9)?,
        low: read("low", 9)?,
        close: read("close", 9)?,
        volume: read("volume", 8)?,
        vwap,
        trades: number(data, "trades")?,
    })
}
