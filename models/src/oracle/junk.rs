//! Junk, by class, for injections.

use sim::choices::Stream;

use crate::kernel::Kx;
use crate::mem::Kobject;

/// Offset of a field by its name, in the default layout.
#[must_use]
pub fn field_offset<T: Kobject>(name: &str) -> Option<u64> {
    let index = T::FIELDS.iter().position(|field| field.name == name)?;
    T::layout(0).offsets.get(index).map(|offset| u64::from(*offset))
}

/// Eight bytes as somebody's stray store may leave them: a class first, since uniform junk reaches few outcomes.
#[must_use]
pub fn junk_word(kx: &Kx) -> u64 {
    let class = kx.choose(Stream::Content, "class of stray bytes", 5);
    let bits = kx.choose(Stream::Content, "stray bytes", 1 << 32);
    let low = bits & 0xffff_ffff;
    match class {
        0 => low & 0xff,
        1 => 0x6c6f_6f70_2074_6120_u64.rotate_left(u32::try_from(low & 7).unwrap_or(0) * 8),
        2 => 0xffff_8880_0000_0000 + (low << 3),
        3 => low << 32 | low.rotate_left(9),
        _ => low,
    }
}
