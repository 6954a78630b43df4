//! What all runs of a program came to.

use std::collections::BTreeSet;

use crate::program::Data;

/// Final states, and the orders in which contexts came to the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finals {
    pub(crate) states: BTreeSet<Data>,
    pub(crate) orders: BTreeSet<u64>,
}

impl Finals {
    pub(crate) fn add(&mut self, data: &Data) {
        self.states.insert(data.state());
        self.orders.insert(data.order);
    }
}
