//! Kernel structures: one declaration yields the Rust struct, a name for each field, the codec and the layouts.

use std::any::Any;
use std::fmt;

use super::ptr::Raw;

/// Where the fields of a structure lie in one kernel build.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset of each field, by its index.
    pub offsets: &'static [u16],
    /// `sizeof` in bytes, without a flexible array at the end.
    pub size: u32,
}

/// What is known of a field without its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// The kernel's name of it.
    pub name: &'static str,
    /// Size in bytes.
    pub size: u16,
    /// Whether memory shows through: see [`Raw::OPAQUE`].
    pub opaque: bool,
}

impl FieldInfo {
    /// Of a field that holds a `V`.
    #[must_use]
    pub const fn of<V: Raw>(name: &'static str) -> Self {
        Self { name, size: V::SIZE, opaque: V::OPAQUE }
    }
}

/// The name of a field of `T` that holds a `V`: how code says which field it reads, whether the object still lives
/// or not.
pub struct Field<T, V> {
    /// Position among the fields, and in [`Layout::offsets`].
    pub index: u8,
    /// The kernel's name of it.
    pub name: &'static str,
    /// Size in bytes.
    pub size: u16,
    /// Reads it from a live object.
    pub get: fn(&T) -> V,
    /// Writes it in a live object.
    pub set: fn(&T, V),
}

impl<T, V> Clone for Field<T, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, V> Copy for Field<T, V> {}

impl<T, V> fmt::Debug for Field<T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field").field("index", &self.index).field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Kobject, V> Field<T, V> {
    /// Byte offset of the field in this layout.
    #[must_use]
    pub fn offset(&self, layout: &Layout) -> u64 {
        layout.offsets.get(usize::from(self.index)).copied().map_or(0, u64::from)
    }
}

/// A kernel structure, declared with [`kobject!`](crate::kobject).
pub trait Kobject: fmt::Debug + 'static {
    /// The type's name as the kernel spells it, for reports.
    const TYPE_NAME: &'static str;
    /// Its fields, in the order of the declaration.
    const FIELDS: &'static [FieldInfo];
    /// The fields' names with the type's in front.
    const FULL_NAMES: &'static [&'static str];

    /// The layout of a kernel variant; 0 is the default, and so is a number that the declaration does not know.
    fn layout(variant: u8) -> &'static Layout;

    /// The field's value as the kernel stores it. 0 for an index that does not exist.
    fn load(&self, index: u8) -> u64;

    /// Decodes a stored value into the field. Nothing happens for an index that does not exist.
    fn store(&self, index: u8, raw: u64);

    /// Writes the fields over `out`, which holds the object's bytes from its start on; bytes between the fields and
    /// opaque ones stay. Fields that do not fit are cut off.
    fn encode(&self, layout: &Layout, out: &mut [u8])
    where
        Self: Sized,
    {
        encode(self, layout, 0, out);
    }
}

/// A [`Kobject`] whose type is known only at run time.
pub(crate) trait AnyKobject: Any + fmt::Debug {
    fn fields(&self) -> &'static [FieldInfo];
    fn load_raw(&self, index: u8) -> u64;
    fn store_raw(&self, index: u8, raw: u64);
}

impl<T: Kobject> AnyKobject for T {
    fn fields(&self) -> &'static [FieldInfo] {
        T::FIELDS
    }

    fn load_raw(&self, index: u8) -> u64 {
        self.load(index)
    }

    fn store_raw(&self, index: u8, raw: u64) {
        self.store(index, raw);
    }
}

/// Each field that overlaps bytes `from .. from + len` of the object: (index, info, its offset).
fn overlapping(
    fields: &'static [FieldInfo],
    layout: &Layout,
    from: u64,
    len: usize,
) -> impl Iterator<Item = (u8, FieldInfo, u64)> {
    let to = from.saturating_add(len as u64);
    (0u8..).zip(fields).zip(layout.offsets).filter_map(move |((index, &info), &offset)| {
        let offset = u64::from(offset);
        let overlaps = offset < to && from < offset + u64::from(info.size);
        (overlaps && !info.opaque).then_some((index, info, offset))
    })
}

/// Overlays the fields on `out`, which holds the object's bytes from offset `from` on.
pub(crate) fn encode<T: AnyKobject + ?Sized>(object: &T, layout: &Layout, from: u64, out: &mut [u8]) {
    for (index, info, offset) in overlapping(object.fields(), layout, from, out.len()) {
        let bytes = object.load_raw(index).to_le_bytes();
        for (place, byte) in (offset..).zip(&bytes[..usize::from(info.size.min(8))]) {
            let place = place.checked_sub(from).and_then(|place| usize::try_from(place).ok());
            if let Some(target) = place.and_then(|place| out.get_mut(place)) {
                *target = *byte;
            }
        }
    }
}

/// Decodes the fields that `bytes`, which were written at offset `from` of the object, touch. Returns whether any
/// changed.
///
/// A field whose bytes stay the same is left alone: a pointer overwritten with itself keeps its identity.
pub(crate) fn trample<T: AnyKobject + ?Sized>(object: &T, layout: &Layout, from: u64, bytes: &[u8]) -> bool {
    let mut changed = false;
    for (index, info, offset) in overlapping(object.fields(), layout, from, bytes.len()) {
        let before = object.load_raw(index);
        let mut raw = before.to_le_bytes();
        for (place, byte) in (offset..).zip(&mut raw[..usize::from(info.size.min(8))]) {
            let place = place.checked_sub(from).and_then(|place| usize::try_from(place).ok());
            if let Some(source) = place.and_then(|place| bytes.get(place)) {
                *byte = *source;
            }
        }
        let after = u64::from_le_bytes(raw);
        if after != before {
            object.store_raw(index, after);
            changed = true;
        }
    }
    changed
}

/// Position of `name` among the fields; for [`kobject!`](crate::kobject), which cannot count.
#[doc(hidden)]
#[must_use]
pub const fn field_index(fields: &[FieldInfo], name: &str) -> u8 {
    let mut index: u8 = 0;
    while (index as usize) < fields.len() {
        if equal(fields[index as usize].name.as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    index
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Declares a kernel structure.
///
/// ```
/// use mem::{LockWord, Kobject, PhysAddr};
///
/// mem::kobject! {
///     /// A pool.
///     pub struct Pool = "struct io_tlb_pool" {
///         /// First byte.
///         start: PhysAddr = 0x00,
///         /// Protects the list.
///         lock: LockWord = 0x08,
///         /// May be freed.
///         transient: bool = 0x0c,
///     }
///     size 0x10;
///     // Further kernels, by number: the offset of each field, in order, and the size.
///     variant 1: [0x00, 0x10, 0x14], size 0x18;
/// }
///
/// let pool = Pool::default();
/// (Pool::start.set)(&pool, PhysAddr(0x1000));
/// assert_eq!(pool.start.get(), PhysAddr(0x1000));
/// assert_eq!(Pool::transient.offset(Pool::layout(1)), 0x14);
/// assert_eq!(Pool::TYPE_NAME, "struct io_tlb_pool");
/// ```
///
/// The struct's fields are `Cell`s. `Pool::start` is the field's name, a [`Field`]; as [`Kobject`] the type has its
/// codec and layouts. A type of field must implement [`Raw`] and `Default`, `Debug`.
///
/// What the model keeps with the object but not in simulated memory (a list, the engine's side of a lock) goes into a
/// block `beside { name: Type }` between the struct and its size; such a type must implement `Default` and `Debug`.
#[macro_export]
macro_rules! kobject {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident = $kernel:literal {
            $( $(#[$field_meta:meta])* $field:ident : $type:ty = $offset:literal ),+ $(,)?
        }
        $( beside { $( $(#[$extra_meta:meta])* $extra:ident : $extra_type:ty ),+ $(,)? } )?
        size $size:literal;
        $( variant $variant:literal : [ $($other:literal),+ $(,)? ], size $other_size:literal; )*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $( $(#[$field_meta])* pub $field: ::sim::cell::Cell<$type>, )+
            $( $( $(#[$extra_meta])* pub $extra: $extra_type, )+ )?
        }

        #[expect(non_upper_case_globals, reason = "the kernel's names of the fields")]
        impl $name {
            $(
                $(#[$field_meta])*
                pub const $field: $crate::Field<Self, $type> = $crate::Field {
                    index: $crate::field_index(
                        <Self as $crate::Kobject>::FIELDS,
                        stringify!($field),
                    ),
                    name: stringify!($field),
                    size: <$type as $crate::Raw>::SIZE,
                    get: |object| object.$field.get(),
                    set: |object, value| object.$field.set(value),
                };
            )+
        }

        impl $crate::Kobject for $name {
            const TYPE_NAME: &'static str = $kernel;
            const FIELDS: &'static [$crate::FieldInfo] =
                &[ $( $crate::FieldInfo::of::<$type>(stringify!($field)) ),+ ];
            const FULL_NAMES: &'static [&'static str] =
                &[ $( concat!($kernel, ".", stringify!($field)) ),+ ];

            fn layout(variant: u8) -> &'static $crate::Layout {
                static DEFAULT: $crate::Layout =
                    $crate::Layout { offsets: &[ $($offset),+ ], size: $size };
                match variant {
                    $(
                        $variant => {
                            static OTHER: $crate::Layout =
                                $crate::Layout { offsets: &[ $($other),+ ], size: $other_size };
                            &OTHER
                        }
                    )*
                    _ => &DEFAULT,
                }
            }

            fn load(&self, index: u8) -> u64 {
                $( if index == Self::$field.index {
                    return $crate::Raw::to_raw(self.$field.get());
                } )+
                0
            }

            fn store(&self, index: u8, raw: u64) {
                $( if index == Self::$field.index {
                    self.$field.set($crate::Raw::from_raw(raw));
                    return;
                } )+
            }
        }
    };
}
