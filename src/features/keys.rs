//! Dense codes for keys of any scalar type: the look-up every per-customer function rests on.
//!
//! Keys are kept once, in ascending order; a key's position is its code. A look-up goes over the whole batch in phases
//! (hash all, fetch all slots, compare all) so that the cache misses of neighbouring rows overlap.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewArray, UInt32Array, new_empty_array};
use datafusion::arrow::compute::kernels::cmp::neq;
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat, nullif, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::error::Result;

use crate::events::key_type;

/// The code of a key that is NULL, unknown, or cannot be cast to the key's type.
pub const NO_CODE: u32 = u32::MAX;

/// How many rows go through each phase of a look-up together.
const BLOCK: usize = 512;

/// An immutable index from key to dense code.
#[derive(Debug)]
pub struct KeyIndex {
    /// The keys, ascending, in their own type.
    pub array: ArrayRef,
    table: Table,
}

/// Where the code of a key is found.
#[derive(Debug)]
enum Table {
    /// Codes by key − least, for integers that lie close together; [`NO_CODE`] in the gaps.
    Direct {
        least: u64,
        codes: Vec<u32>,
    },
    /// Other integers (signed and small unsigned ones, and u64 by its bits), each in the slot of its hash or one after it.
    Integers(Vec<IntegerSlot>),
    Text(TextTable),
}

/// A key and its code + 1; 0 is an empty slot. A power of two of them.
#[derive(Debug, Clone, Copy, Default)]
struct IntegerSlot {
    key: u64,
    next_code: u32,
}

#[derive(Debug)]
struct TextTable {
    /// (hash's upper half, code + 1) by hash; 0 is empty. Power of two.
    slots: Vec<u64>,
    /// By code.
    words: Vec<Words>,
    keys: StringViewArray,
}

/// The first and the last bytes of a text and its length: all of it up to [`SHORT`] bytes, so that comparing is one fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Words {
    head: u64,
    tail: u64,
    len: u32,
}

const SHORT: u32 = 16;

impl Words {
    #[inline]
    fn of(key: &[u8]) -> Self {
        let n = key.len();
        let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap_or_default());
        let half = |at: usize| u64::from(u32::from_le_bytes(key[at..at + 4].try_into().unwrap_or_default()));
        let (head, tail) = match n {
            0 => (0, 0),
            1..4 => (u64::from(key[0]) | u64::from(key[n / 2]) << 8, u64::from(key[n - 1])),
            4..8 => (half(0), half(n - 4)),
            _ => (word(0), word(n - 8)),
        };
        Self { head, tail, len: n as u32 }
    }

    #[inline]
    fn hash(self, key: &[u8]) -> u64 {
        if self.len > SHORT { twox_hash::XxHash3_64::oneshot(key) } else { mix(self.head, self.tail ^ u64::from(self.len) << 56) }
    }
}

/// Integers are looked up directly when their range is at most this many times their number.
const DIRECT_RANGE: u64 = 8;

/// A direct table, if the keys (ascending as i64 or u64, by their bits) lie close enough together.
fn direct(keys: &[u64]) -> Option<Table> {
    let (least, most) = (*keys.first()?, *keys.last()?);
    let range = most.wrapping_sub(least).checked_add(1)?;
    if range > DIRECT_RANGE * keys.len() as u64 {
        return None;
    }
    let mut codes = vec![NO_CODE; range as usize];
    for (code, key) in keys.iter().enumerate() {
        codes[key.wrapping_sub(least) as usize] = code as u32;
    }
    Some(Table::Direct { least, codes })
}

/// The type in which keys of type `t` are hashed and compared.
fn comparable(t: &DataType) -> DataType {
    match t {
        DataType::Dictionary(_, v) => comparable(v),
        DataType::UInt64 => DataType::UInt64,
        t if t.is_integer() => DataType::Int64,
        _ => DataType::Utf8View,
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    // `safe`: what cannot be cast is NULL, and so has no code.
    Ok(cast_with_options(array, to, &CastOptions { safe: true, ..Default::default() })?)
}

#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let m = u128::from(a ^ 0x9E37_79B9_7F4A_7C15) * u128::from(b ^ 0xD1B5_4A32_D192_ED03);
    (m as u64) ^ ((m >> 64) as u64)
}

#[inline]
fn hash_integer(key: u64) -> u64 {
    mix(key, 0x2545_F491_4F6C_DD1D)
}

/// How many slots `keys` keys need.
fn capacity(keys: usize) -> usize {
    (keys.max(8) * 2).next_power_of_two()
}

fn integers(keys: &[u64]) -> Table {
    let mut slots = vec![IntegerSlot::default(); capacity(keys.len())];
    let mask = slots.len() - 1;
    for (code, &key) in keys.iter().enumerate() {
        let mut at = hash_integer(key) as usize & mask;
        while slots[at].next_code != 0 {
            at = (at + 1) & mask;
        }
        slots[at] = IntegerSlot { key, next_code: code as u32 + 1 };
    }
    Table::Integers(slots)
}

fn text(keys: StringViewArray) -> Table {
    let mut slots = vec![0; capacity(keys.len())];
    let mask = slots.len() - 1;
    let mut words = Vec::with_capacity(keys.len());
    for code in 0..keys.len() {
        let key = keys.value(code).as_bytes();
        words.push(Words::of(key));
        let hash = words[code].hash(key);
        let mut at = hash as usize & mask;
        while slots[at] != 0 {
            at = (at + 1) & mask;
        }
        slots[at] = (hash & 0xFFFF_FFFF_0000_0000) | (code as u64 + 1);
    }
    Table::Text(TextTable { slots, words, keys })
}

impl KeyIndex {
    /// An index over distinct, non-NULL keys, given in any order.
    ///
    /// Returns the index and, for each key as given, its code.
    pub fn build(keys: &ArrayRef) -> Result<(Self, Vec<u32>)> {
        let array = cast(keys, &key_type(keys.data_type()))?;
        let order = sort_to_indices(&array, None, None)?;
        let mut codes = vec![0u32; order.len()];
        for (code, &i) in order.values().iter().enumerate() {
            codes[i as usize] = code as u32;
        }
        let array = take(&array, &order, None)?;
        let comparable = cast(&array, &comparable(array.data_type()))?;
        let by_integers = |keys: &[u64]| direct(keys).unwrap_or_else(|| integers(keys));
        let table = match comparable.data_type() {
            DataType::Int64 => by_integers(&comparable.as_primitive::<Int64Type>().values().iter().map(|&v| v as u64).collect::<Vec<_>>()),
            DataType::UInt64 => by_integers(comparable.as_primitive::<UInt64Type>().values()),
            _ => text(comparable.as_string_view().clone()),
        };
        Ok((Self { array, table }, codes))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        let table = match &self.table {
            Table::Direct { codes, .. } => codes.len() * size_of::<u32>(),
            Table::Integers(slots) => slots.len() * size_of::<IntegerSlot>(),
            Table::Text(t) => t.slots.len() * 8 + t.words.len() * size_of::<Words>() + t.keys.get_array_memory_size(),
        };
        table + self.array.get_array_memory_size()
    }

    /// The code of every key of `keys` (any type), [`NO_CODE`] where there is none.
    pub fn lookup(&self, keys: &ArrayRef) -> Result<Vec<u32>> {
        if let Some(d) = keys.as_any_dictionary_opt() {
            if d.values().is_empty() {
                return Ok(vec![NO_CODE; keys.len()]);
            }
            let values = self.lookup(d.values())?;
            let positions = d.normalized_keys();
            return Ok(positions.iter().enumerate().map(|(i, &p)| if keys.is_null(i) { NO_CODE } else { values[p] }).collect());
        }
        // First to the keys' own type ('7' finds 7, 7 finds '7'), then to the comparable one.
        let by_text = matches!(self.table, Table::Text(_));
        let own = match keys.data_type() {
            t if by_text && is_text(t) && is_text(self.array.data_type()) => Arc::clone(keys),
            t if !by_text && t.is_integer() => Arc::clone(keys),
            _ => cast(keys, self.array.data_type())?,
        };
        // Neither TRUE nor a date is a number, and 7.5 is not 7: what casting has changed is no key.
        let (asked, kept) = (keys.data_type(), self.array.data_type());
        if !is_text(asked) && !is_text(kept) && asked.is_numeric() != kept.is_numeric() {
            return Ok(vec![NO_CODE; keys.len()]);
        }
        let own = match asked.is_numeric() && !asked.is_integer() && asked != kept {
            true => nullif(&own, &neq(&cast(&own, asked)?, keys)?)?,
            false => own,
        };
        if let Table::Text(table) = &self.table {
            return Ok(match own.data_type() {
                DataType::Utf8 => {
                    let a = own.as_string::<i32>();
                    table.find(&own, |i| a.value(i))
                }
                DataType::LargeUtf8 => {
                    let a = own.as_string::<i64>();
                    table.find(&own, |i| a.value(i))
                }
                _ => {
                    let own = cast(&own, &DataType::Utf8View)?;
                    let a = own.as_string_view();
                    table.find(&own, |i| a.value(i))
                }
            });
        }
        let wanted = cast(&own, &comparable(self.array.data_type()))?;
        let values: Vec<u64> = match wanted.data_type() {
            DataType::UInt64 => wanted.as_primitive::<UInt64Type>().values().to_vec(),
            _ => wanted.as_primitive::<Int64Type>().values().iter().map(|&v| v as u64).collect(),
        };
        let mut out: Vec<u32> = match &self.table {
            Table::Direct { least, codes } => {
                values.iter().map(|v| codes.get(v.wrapping_sub(*least) as usize).copied().unwrap_or(NO_CODE)).collect()
            }
            Table::Integers(slots) => find_integers(slots, &values),
            Table::Text(_) => vec![NO_CODE; values.len()],
        };
        if let Some(nulls) = wanted.nulls() {
            out.iter_mut().zip(nulls).filter(|(_, valid)| !valid).for_each(|(code, _)| *code = NO_CODE);
        }
        Ok(out)
    }
}

fn find_integers(slots: &[IntegerSlot], wanted: &[u64]) -> Vec<u32> {
    let mask = slots.len() - 1;
    let mut out = Vec::with_capacity(wanted.len());
    let mut first = [IntegerSlot::default(); BLOCK];
    for block in wanted.chunks(BLOCK) {
        for (slot, &key) in first.iter_mut().zip(block) {
            *slot = slots[hash_integer(key) as usize & mask];
        }
        for (slot, &key) in first.iter().zip(block) {
            let (mut slot, mut at) = (*slot, hash_integer(key) as usize & mask);
            while slot.next_code != 0 && slot.key != key {
                at = (at + 1) & mask;
                slot = slots[at];
            }
            // NO_CODE is what an empty slot's 0 becomes.
            out.push(slot.next_code.wrapping_sub(1));
        }
    }
    out
}

impl TextTable {
    fn find<'a>(&self, wanted: &ArrayRef, value: impl Fn(usize) -> &'a str) -> Vec<u32> {
        let n = wanted.len();
        let mut out = vec![NO_CODE; n];
        if self.words.is_empty() {
            return out;
        }
        let mask = self.slots.len() - 1;
        let nulls = wanted.nulls();
        let (mut asked, mut hashes) = ([Words::default(); BLOCK], [0u64; BLOCK]);
        let (mut first, mut found) = ([0u64; BLOCK], [Words::default(); BLOCK]);
        for start in (0..n).step_by(BLOCK) {
            let len = BLOCK.min(n - start);
            for j in 0..len {
                let key = value(start + j).as_bytes();
                asked[j] = Words::of(key);
                hashes[j] = asked[j].hash(key);
            }
            for j in 0..len {
                first[j] = self.slots[hashes[j] as usize & mask];
            }
            // An empty slot fetches the words of the first key, which nobody looks at.
            for j in 0..len {
                found[j] = self.words[(first[j] as u32).saturating_sub(1) as usize];
            }
            for j in 0..len {
                let i = start + j;
                if nulls.is_some_and(|n| n.is_null(i)) {
                    continue;
                }
                out[i] = match asked[j].len <= SHORT && first[j] != 0 && found[j] == asked[j] {
                    true => first[j] as u32 - 1,
                    false => self.probe(first[j], hashes[j], asked[j], value(i)),
                };
            }
        }
        out
    }

    /// From the first slot of a hash on.
    fn probe(&self, mut slot: u64, hash: u64, words: Words, key: &str) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while slot != 0 {
            if (slot ^ hash) >> 32 == 0 {
                let code = slot as u32 - 1;
                if self.words[code as usize] == words && (words.len <= SHORT || self.keys.value(code as usize) == key) {
                    return code;
                }
            }
            at = (at + 1) & mask;
            slot = self.slots[at];
        }
        NO_CODE
    }
}

fn is_text(t: &DataType) -> bool {
    matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Codes as an index array for `take`; NULL where there is no code.
pub fn to_indices(codes: &[u32]) -> UInt32Array {
    codes.iter().map(|&c| (c != NO_CODE).then_some(c)).collect()
}

/// The distinct non-NULL keys of a stream of batches, numbered as they come.
#[derive(Debug, Default)]
pub struct Interner {
    seen: datafusion::common::HashMap<Box<[u8]>, u32>,
    kept: Vec<ArrayRef>,
}

impl Interner {
    /// The number of every key; NULL keys get [`NO_CODE`].
    pub fn intern(&mut self, keys: &ArrayRef) -> Result<Vec<u32>> {
        let own = cast(keys, &key_type(keys.data_type()))?;
        let text = cast(&own, &comparable(own.data_type()))?;
        let mut fresh = vec![];
        let mut out = Vec::with_capacity(keys.len());
        for i in 0..text.len() {
            if text.is_null(i) {
                out.push(NO_CODE);
                continue;
            }
            let bytes: &[u8] = match text.data_type() {
                DataType::Int64 => &text.as_primitive::<Int64Type>().value(i).to_le_bytes(),
                DataType::UInt64 => &text.as_primitive::<UInt64Type>().value(i).to_le_bytes(),
                _ => text.as_string_view().value(i).as_bytes(),
            };
            let next = self.seen.len() as u32;
            let code = match self.seen.get(bytes) {
                Some(&c) => c,
                None => {
                    self.seen.insert(bytes.into(), next);
                    fresh.push(i as u32);
                    next
                }
            };
            out.push(code);
        }
        if !fresh.is_empty() {
            self.kept.push(take(&own, &UInt32Array::from(fresh), None)?);
        }
        Ok(out)
    }

    /// Bytes held, about.
    pub fn size(&self) -> usize {
        let kept: usize = self.kept.iter().map(|a| a.get_array_memory_size()).sum();
        self.seen.capacity() * size_of::<(Box<[u8]>, u32)>() + 2 * kept
    }

    /// The index over all keys, and the code of each number given out.
    pub fn finish(self, if_empty: &DataType) -> Result<(KeyIndex, Vec<u32>)> {
        let all = match self.kept.len() {
            0 => new_empty_array(&key_type(if_empty)),
            _ => concat(&self.kept.iter().map(|a| a.as_ref()).collect::<Vec<_>>())?,
        };
        KeyIndex::build(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Date32Array, DictionaryArray, Float64Array, Int8Array, Int64Array, StringArray, UInt64Array};
    use datafusion::arrow::datatypes::Int32Type;

    fn integer_keys(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<Int64Array>())
    }

    fn unsigned_keys(values: impl IntoIterator<Item = u64>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<UInt64Array>())
    }

    fn index(keys: ArrayRef) -> KeyIndex {
        KeyIndex::build(&keys).unwrap().0
    }

    #[test]
    fn finds_text_in_every_string_type_and_of_every_length() {
        let names: Vec<String> = (0..3000).map(|i| "客".repeat(i % 9) + &"x".repeat(i % 23) + &i.to_string()).collect();
        let ix = index(Arc::new(StringArray::from(names.clone())));
        for t in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            let asked = cast(&(Arc::new(StringArray::from(names.clone())) as ArrayRef), &t).unwrap();
            let found = ix.lookup(&asked).unwrap();
            let back = take(&ix.array, &to_indices(&found), None).unwrap();
            assert_eq!(back.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn null_unknown_and_uncastable_keys_have_no_code() {
        let ix = index(Arc::new(Int64Array::from(vec![7, -1, 300])));
        let asked: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), None, Some("x"), Some("300"), Some("8")]));
        assert_eq!(ix.lookup(&asked).unwrap(), [1, NO_CODE, NO_CODE, 2, NO_CODE]);
        assert_eq!(ix.lookup(&(Arc::new(Int8Array::from(vec![7, -1])) as ArrayRef)).unwrap(), [1, 0]);
        let words = index(Arc::new(StringArray::from(vec!["7", "b"])));
        assert_eq!(words.lookup(&integer_keys([7, 8])).unwrap(), [0, NO_CODE]);
        let fractions: ArrayRef = Arc::new(Float64Array::from(vec![Some(7.0), Some(7.5), Some(f64::NAN), None]));
        assert_eq!(ix.lookup(&fractions).unwrap(), [1, NO_CODE, NO_CODE, NO_CODE]);
        assert_eq!(ix.lookup(&(Arc::new(Date32Array::from(vec![7])) as ArrayRef)).unwrap(), [NO_CODE]);
    }

    #[test]
    fn large_unsigned_dates_and_dictionaries() {
        let ix = index(unsigned_keys([u64::MAX, 3]));
        assert_eq!(ix.lookup(&unsigned_keys([u64::MAX, 3, 4])).unwrap(), [1, 0, NO_CODE]);
        assert_eq!(ix.lookup(&integer_keys([-1, 3])).unwrap(), [NO_CODE, 0]);
        let days = index(Arc::new(Date32Array::from(vec![10, 20])));
        assert_eq!(days.lookup(&(Arc::new(Date32Array::from(vec![20])) as ArrayRef)).unwrap(), [1]);
        let d: DictionaryArray<Int32Type> = vec![Some("b"), None, Some("a"), Some("b")].into_iter().collect();
        let text = index(Arc::new(StringArray::from(vec!["b", "a"])));
        assert_eq!(text.lookup(&(Arc::new(d) as ArrayRef)).unwrap(), [1, NO_CODE, 0, 1]);
        let d: DictionaryArray<Int32Type> = vec![None::<&str>, None].into_iter().collect();
        assert_eq!(text.lookup(&(Arc::new(d) as ArrayRef)).unwrap(), [NO_CODE, NO_CODE]);
    }

    #[test]
    fn interner_gives_the_same_codes_in_any_order() {
        let (a, b): (ArrayRef, ArrayRef) =
            (Arc::new(StringArray::from(vec![Some("q"), None, Some("a")])), Arc::new(StringArray::from(vec!["a", "m"])));
        let run = |batches: [&ArrayRef; 2]| {
            let mut interner = Interner::default();
            let numbers: Vec<Vec<u32>> = batches.iter().map(|x| interner.intern(x).unwrap()).collect();
            let (ix, codes) = interner.finish(&DataType::Utf8).unwrap();
            let coded: Vec<Vec<u32>> =
                numbers.iter().map(|n| n.iter().map(|&c| if c == NO_CODE { c } else { codes[c as usize] }).collect()).collect();
            (ix.len(), coded)
        };
        let (n, ab) = run([&a, &b]);
        let (_, ba) = run([&b, &a]);
        assert_eq!((n, &ab[0], &ab[1]), (3, &ba[1], &ba[0]));
    }
}
