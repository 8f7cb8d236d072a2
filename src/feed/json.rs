//! JSON messages element by element: simd-json's tape, walked where it lies, its buffers reused.

use simd_json::{Buffers, Node, StaticNode, Tape};

use super::field::{Context, Number};
use super::reject::Reason;

/// Why a record is rejected, and the value that was wrong with it.
pub type Fault<'a> = (Reason, Scalar<'a>);

/// A JSON value that is no array and no object, or the mark of one that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Int(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An array or an object.
    Nested,
}

impl<'a> Scalar<'a> {
    /// A JSON number.
    #[inline]
    pub fn number(self) -> Result<Number<'a>, Fault<'a>> {
        match self {
            Self::Int(value) => Ok(Number::Int(value)),
            Self::Float(value) => Ok(Number::Float(value)),
            other => Err((Reason::WrongType, other)),
        }
    }

    /// A JSON string.
    #[inline]
    pub fn text(self) -> Result<&'a str, Fault<'a>> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err((Reason::WrongType, other)),
        }
    }

    /// A decimal number in a JSON string.
    #[inline]
    pub fn decimal(self) -> Result<Number<'a>, Fault<'a>> {
        self.text().map(|text| Number::Text(text.as_bytes()))
    }

    /// `true` or `false`.
    pub fn bool(self) -> Result<bool, Fault<'a>> {
        match self {
            Self::Bool(value) => Ok(value),
            other => Err((Reason::WrongType, other)),
        }
    }

    /// A whole JSON number of the wanted integer type.
    #[inline]
    pub fn int<T: TryFrom<i128>>(self) -> Result<T, Fault<'a>> {
        match self {
            Self::Int(value) => T::try_from(value).map_err(|_| (Reason::BadNumber, self)),
            Self::Float(_) => Err((Reason::BadNumber, self)),
            other => Err((Reason::WrongType, other)),
        }
    }

    /// A time in whole milliseconds.
    #[inline]
    pub fn millis(self) -> Result<i64, Fault<'a>> {
        match self {
            Self::Int(value) => i64::try_from(value).map_err(|_| (Reason::TimeFuture, self)),
            Self::Null => Err((Reason::TimeMissing, Self::Null)),
            other => Err((Reason::TimeBad, other)),
        }
    }

    /// The value as a note shows it.
    pub fn show(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Null => "null".to_owned(),
            Self::Nested => "an array or an object".to_owned(),
        }
    }
}

/// A field that may be left out; `null` is left out.
pub type Field<'a> = Option<Scalar<'a>>;

/// A field that must be there.
#[inline]
pub fn required<'a>(field: Field<'a>, name: &'static str) -> Result<Scalar<'a>, Fault<'a>> {
    field.ok_or((Reason::MissingField, Scalar::Text(name)))
}

/// One value on the tape.
#[derive(Clone, Copy)]
pub struct Value<'t, 'i>(&'t [Node<'i>]);

impl<'t, 'i> Value<'t, 'i> {
    /// What it is.
    #[inline]
    pub fn scalar(self) -> Scalar<'i> {
        match self.0.first() {
            Some(Node::String(text)) => Scalar::Text(text),
            Some(Node::Static(StaticNode::I64(value))) => Scalar::Int(i128::from(*value)),
            Some(Node::Static(StaticNode::U64(value))) => Scalar::Int(i128::from(*value)),
            Some(Node::Static(StaticNode::F64(value))) => Scalar::Float(*value),
            Some(Node::Static(StaticNode::Bool(value))) => Scalar::Bool(*value),
            Some(Node::Static(StaticNode::Null)) | None => Scalar::Null,
            Some(Node::Array { .. } | Node::Object { .. }) => Scalar::Nested,
        }
    }

    /// A field's value: `null` counts as left out.
    #[inline]
    pub fn field(self) -> Field<'i> {
        match self.scalar() {
            Scalar::Null => None,
            scalar => Some(scalar),
        }
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        matches!(self.0.first(), Some(Node::Array { .. }))
    }

    /// Calls `each` for every field of an object, in order; `false` where it is none.
    #[inline]
    pub fn fields(self, mut each: impl FnMut(&'i str, Value<'t, 'i>)) -> bool {
        let Some(Node::Object { len, .. }) = self.0.first() else { return false };
        let mut rest = &self.0[1..];
        for _ in 0..*len {
            let Some((Node::String(key), after)) = rest.split_first() else { return true };
            let (value, next) = after.split_at(extent(after));
            each(key, Value(value));
            rest = next;
        }
        true
    }

    /// Calls `each` for every element of an array, in order; `false` where it is none.
    #[inline]
    pub fn elements(self, mut each: impl FnMut(Value<'t, 'i>)) -> bool {
        let Some(Node::Array { len, .. }) = self.0.first() else { return false };
        let mut rest = &self.0[1..];
        for _ in 0..*len {
            let (value, next) = rest.split_at(extent(rest));
            each(Value(value));
            rest = next;
        }
        true
    }
}

/// How many nodes the first value takes.
#[inline]
fn extent(nodes: &[Node<'_>]) -> usize {
    let n = match nodes.first() {
        Some(Node::Array { count, .. } | Node::Object { count, .. }) => count + 1,
        Some(_) => 1,
        None => 0,
    };
    n.min(nodes.len())
}

/// The reusable parser of one connection or file.
pub struct Json {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Json {
    fn default() -> Self {
        Self { buffers: Buffers::new(4096), tape: Tape(Vec::with_capacity(256)) }
    }
}

impl Json {
    /// Reads one message. `each` is called for every record in it: every element of an array, or the one value that is no array.
    /// What is no JSON is rejected; of a broken array whose elements can still be told apart, only the broken ones.
    pub fn read(
        &mut self,
        text: &mut [u8],
        cx: &mut Context<'_>,
        each: &mut impl FnMut(Value<'_, '_>, &mut Context<'_>),
    ) {
        if self.read_whole(text, cx, each) {
            return;
        }
        let Some(bounds) = split_array(text) else {
            cx.tallies.record();
            cx.tallies.reject(Reason::MalformedJson, text, cx.now);
            return;
        };
        // Rare and paid by the sender of the broken message: each element is parsed again on its own.
        for (from, to) in bounds {
            let mut element = |value: Value<'_, '_>, cx: &mut Context<'_>| {
                cx.tallies.record();
                each(value, cx);
            };
            let piece = &mut text[from..to];
            if !self.parse(piece, |value| element(value, cx)) {
                cx.tallies.record();
                cx.tallies.reject(Reason::MalformedJson, piece, cx.now);
            }
        }
    }

    /// Reads one document, whatever it is; `false` where it is no JSON.
    pub fn document(&mut self, text: &mut [u8], take: impl FnOnce(Value<'_, '_>)) -> bool {
        self.parse(text, take)
    }

    fn read_whole(
        &mut self,
        text: &mut [u8],
        cx: &mut Context<'_>,
        each: &mut impl FnMut(Value<'_, '_>, &mut Context<'_>),
    ) -> bool {
        self.parse(text, |value| {
            let is_array = value.elements(|element| {
                cx.tallies.record();
                each(element, cx);
            });
            if !is_array {
                cx.tallies.record();
                each(value, cx);
            }
        })
    }

    fn parse(&mut self, text: &mut [u8], take: impl FnOnce(Value<'_, '_>)) -> bool {
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let good = simd_json::fill_tape(text, &mut self.buffers, &mut tape).is_ok();
        if good {
            take(Value(&tape.0));
        }
        self.tape = tape.reset();
        good
    }
}

/// The places of the elements of a top-level array, if brackets and quotes balance. Text with a backslash is not looked
/// at: the parser may have unescaped some of it in place already.
fn split_array(text: &[u8]) -> Option<Vec<(usize, usize)>> {
    if memchr::memchr(b'\\', text).is_some() {
        return None;
    }
    let first = text.iter().position(|b| !b.is_ascii_whitespace())?;
    let last = text.iter().rposition(|b| !b.is_ascii_whitespace())?;
    if text[first] != b'[' || text[last] != b']' || last == first {
        return None;
    }
    let (mut depth, mut quoted, mut from) = (0usize, false, first + 1);
    let mut bounds = Vec::new();
    for (at, &byte) in text.iter().enumerate().take(last).skip(first + 1) {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                bounds.push((from, at));
                from = at + 1;
            }
            _ => {}
        }
    }
    bounds.push((from, last));
    (depth == 0 && !quoted).then_some(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_array_is_told_apart_where_its_brackets_balance() {
        assert_eq!(split_array(br#" [1,{"a":[2,3]},"]"] "#).map(|b| b.len()), Some(3));
        for bad in [&b"[1"[..], b"{1}", b"[", b"[]]", b"[\"]", br#"["\""]"#, b"", b"[{]"] {
            assert_eq!(split_array(bad), None, "{}", bad.escape_ascii());
        }
    }
}
