//! Whether answers are read, told by the time since something of them was handed out.

use std::sync::atomic::Ordering;

use super::{Connection, Shared};

/// Whether what was handed out of an answer is being read.
pub(in crate::server) struct Unread {
    pub(super) connection: Connection,
    pub(super) part: Option<usize>,
}

impl Unread {
    /// Something was handed out: nothing more is asked for before there is room for it.
    pub(in crate::server) fn handed(&mut self) {
        let Shared { table, unread, .. } = &*self.connection.0;
        let part = table.part.load(Ordering::Relaxed);
        unread[part].fetch_add(1, Ordering::Relaxed);
        self.part = Some(part);
    }

    /// More is asked for.
    pub(in crate::server) fn taken(&mut self) {
        if let Some(part) = self.part.take() {
            self.connection.0.unread[part].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.taken();
    }
}
