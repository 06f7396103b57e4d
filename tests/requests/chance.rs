//! Messages by chance: of the right shape, with values that are right, wrong, extreme or senseless.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::rules::{Rule, rule};

/// How deep messages are nested at most.
const DEPTH: usize = 6;
const TEXTS: &[&str] =
    &["", " ", "a", "worker-1", "a/b", "\u{202e}é\0\n", "東京🦀", "builtin:coder", "../../etc/passwd", "%00"];
const NUMBERS: &[i64] = &[0, 1, -1, 2, 16, 256, 257, 1_000, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

/// What happens next.
pub(crate) struct Chance {
    pub(crate) rng: StdRng,
    /// Workers that there are or were.
    pub(crate) workers: Vec<String>,
    /// Cursors and page tokens that were handed out.
    pub(crate) tokens: Vec<String>,
}

impl Chance {
    pub(crate) fn new(seed: u64, worker: String) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), workers: vec![worker], tokens: Vec::new() }
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.rng.random_range(0..times) == 0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// A worker, mostly one that there is.
    pub(crate) fn worker(&mut self) -> String {
        self.workers.choose(&mut self.rng).expect("there is one").clone()
    }

    /// So many bytes of anything.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.rng.random()).collect()
    }

    /// A message of this kind.
    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor, is_host: bool, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        if depth > DEPTH {
            return message;
        }
        for field in descriptor.fields() {
            if self.once_in(10) {
                continue;
            }
            if let Some(value) = self.value(&field, is_host, depth) {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, is_host: bool, depth: usize) -> Option<Value> {
        let worker = self.worker();
        match rule(field, &worker, is_host) {
            Some(Rule::Bounded { good, bad }) => match self.below(40) {
                0 => Some(bad.choose(&mut self.rng)?.value.clone()),
                1 => Some(self.any(field, is_host, depth)),
                _ => good.or_else(|| self.token(field)),
            },
            _ => Some(self.any(field, is_host, depth)),
        }
    }

    /// A cursor or a page token.
    fn token(&mut self, field: &FieldDescriptor) -> Option<Value> {
        if field.is_list() || !matches!(field.kind(), Kind::String) || self.once_in(2) {
            return None;
        }
        self.tokens.choose(&mut self.rng).cloned().map(Value::String)
    }

    fn any(&mut self, field: &FieldDescriptor, is_host: bool, depth: usize) -> Value {
        let count = if self.once_in(50) { self.below(70) } else { self.below(3) };
        if field.is_list() {
            return Value::List((0..count).map(|_| self.one(&field.kind(), is_host, depth)).collect());
        }
        if field.is_map() {
            let entry = |chance: &mut Self| (MapKey::String(chance.text()), Value::String(chance.text()));
            return Value::Map((0..count).map(|_| entry(self)).collect::<HashMap<_, _>>());
        }
        self.one(&field.kind(), is_host, depth)
    }

    fn one(&mut self, kind: &Kind, is_host: bool, depth: usize) -> Value {
        let number =
            if self.once_in(2) { *NUMBERS.choose(&mut self.rng).expect("there is one") } else { self.rng.random() };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any number will do")]
        match kind {
            Kind::String => Value::String(self.text()),
            Kind::Bool => Value::Bool(self.rng.random()),
            Kind::Message(inner) => Value::Message(self.message(inner, is_host, depth + 1)),
            Kind::Enum(_) => Value::EnumNumber(if self.once_in(4) { number as i32 } else { (number & 7) as i32 }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(number as u64),
            Kind::Double => Value::F64(f64::from_bits(number as u64)),
            Kind::Float => Value::F32(f32::from_bits(number as u32)),
            Kind::Bytes => Value::Bytes(self.bytes(40).into()),
        }
    }

    fn text(&mut self) -> String {
        match self.below(40) {
            0 => "x".repeat(self.below(200_000)),
            1..8 => String::from_utf8_lossy(&self.bytes(40)).into_owned(),
            8..16 => self.worker(),
            _ => (*TEXTS.choose(&mut self.rng).expect("there is one")).to_owned(),
        }
    }
}
