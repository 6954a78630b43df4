//! One object: its fields, its life, who points at it.

use sim::ObjId;

use crate::kernel::Kx;
use crate::mem::PhysAddr;

/// A field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldState {
    /// Its name.
    pub name: &'static str,
    /// Where it lies in the object.
    pub offset: u64,
    /// Bytes.
    pub size: u16,
    /// What it holds.
    pub value: u64,
    /// The type of the living object that it points at, if it points at one.
    pub leads_to: Option<&'static str>,
}

/// An object, alive or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// Its type.
    pub type_name: &'static str,
    /// First byte (kernel virtual).
    pub at: u64,
    /// Bytes.
    pub size: u64,
    /// Whether it lives.
    pub alive: bool,
    /// The engine's label of its first field, and one past that of its last: what a step on it names. Both are the same
    /// for an object without fields.
    pub labels: (ObjId, ObjId),
    /// The fields of a living structure.
    pub fields: Vec<FieldState>,
    /// Sections of a report on it: its life, the pointers that lead to it, what lies there now.
    pub life: Vec<(String, Vec<String>)>,
}

impl ObjectState {
    /// What lies at an address, physical or of the direct map: the living object, else the last one that lay there.
    #[must_use]
    pub fn at(kx: &Kx, addr: u64) -> Option<Self> {
        let phys = PhysAddr::from_virt(addr).unwrap_or(PhysAddr(addr));
        let id = {
            let mem = kx.k.mem.borrow();
            let shadow = mem.heap.shadow();
            match shadow.object_at(phys) {
                0 => shadow.objects().former_at(phys).next().map_or(0, |(id, _)| id),
                id => id,
            }
        };
        Self::of(kx, id)
    }

    /// The object that a step names: the one with this label, or with a field that has it.
    #[must_use]
    pub fn labelled(kx: &Kx, label: ObjId) -> Option<Self> {
        Self::of(kx, kx.k.object_labelled(label))
    }

    fn of(kx: &Kx, id: u32) -> Option<Self> {
        let mem = kx.k.mem.borrow();
        let record = mem.heap.record(id)?.clone();
        let fields = mem.heap.fields(id).map(|(info, offset, value)| {
            let target = PhysAddr::from_virt(value).map_or(0, |phys| mem.heap.shadow().object_at(phys));
            FieldState {
                name: info.name,
                offset,
                size: info.size,
                value,
                leads_to: mem.heap.record(target).filter(|_| info.size == 8).map(|record| record.type_name),
            }
        });
        let fields: Vec<FieldState> = fields.collect();
        drop(mem);
        let mut life = Vec::new();
        kx.k.explain_object(id, kx.sim(), &mut life);
        kx.k.explain_memory(record.range.start.virt(), kx.sim(), &mut life);
        Some(Self {
            type_name: record.type_name,
            at: record.range.start.virt(),
            size: record.range.size(),
            alive: record.alive,
            labels: kx.k.labels_of(id),
            fields,
            life,
        })
    }
}
