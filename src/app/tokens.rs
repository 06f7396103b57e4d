//! Who may call, as the token file has it now.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Origin;
use crate::model::TokenTable;

/// The table that the listener asks; none lets in everybody.
pub(super) type Tokens = Option<Arc<ArcSwap<TokenTable>>>;

/// A table that can be exchanged later, of the file that is in force and what named it. A variable that was meant for a
/// client names a server's as well.
pub(super) fn exchangeable(table: Option<TokenTable>, file: Option<(PathBuf, Origin)>) -> Tokens {
    if let Some((file, origin)) = file {
        tracing::info!(file = %file.display(), named_by = %origin, "callers must show a token of this file");
    } else {
        tracing::info!("no token_file: every caller is let in, on loopback only");
    }
    table.map(|table| Arc::new(ArcSwap::from_pointee(table)))
}

/// Lets in who is in `table` from now on. Whether there is a table at all is decided at the start.
pub(super) fn exchange(tokens: &Tokens, table: Option<TokenTable>) {
    match (tokens, table) {
        (Some(tokens), Some(table)) => tokens.store(Arc::new(table)),
        (None, None) => {}
        (Some(_), None) => tracing::warn!("token_file is gone: the tokens stay as they are until a restart"),
        (None, Some(_)) => tracing::warn!("token_file is new: tokens are asked for from the next start on"),
    }
}
