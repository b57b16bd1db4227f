//! A store that a command changes without reading it: what it has to know is which volumes there are. Beside a daemon that is asked of the
//! daemon, so the command takes no longer the larger the store is.

use crate::context::{Context, Opened, missing, several};
use crate::error::{Outcome, refuse};
use crate::opening;
use std::sync::Arc;
use strand_engine::{Actor, Command, Done, VolumeId};
use strand_journal::{FileDisk, StoreFile};
use strand_serve::control::Client;

/// An open store, and the names of its volumes. However a command ends, it ends in good order: a refusal is recorded by that too.
pub(crate) struct Commanded {
    /// `None` once it has ended.
    way: Option<Way>,
    volumes: Vec<Named>,
}

/// A volume.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) id: VolumeId,
    pub(crate) name: String,
}

enum Way {
    Opened(Box<Opened>),
    Daemon(Client),
}

impl Context {
    /// Opens the store to change it.
    ///
    /// # Errors
    /// As [`Context::write`].
    pub(crate) fn command(&self) -> Outcome<Commanded> {
        let path = self.store_path()?;
        let Some(daemon) = Client::connect(path)? else {
            let store = self.write()?;
            let state = store.state();
            let named = |(name, id): (&Arc<str>, &VolumeId)| Named {
                id: *id,
                name: name.to_string(),
            };
            return Ok(Commanded {
                volumes: state.volume_names.iter().map(named).collect(),
                way: Some(Way::Opened(Box::new(store))),
            });
        };
        // Who may not read the store's files is told so by the daemon, which records it.
        let file = FileDisk::open(path).ok().map(|disk| StoreFile::read(&disk));
        if let Some(Ok(file)) = file
            && file.store != daemon.store()
        {
            return refuse(opening::another_store(path, &daemon));
        }
        daemon.begin(self.actor())?;
        let named = |(id, name)| Named { id, name };
        Ok(Commanded {
            volumes: daemon.volumes()?.into_iter().map(named).collect(),
            way: Some(Way::Daemon(daemon)),
        })
    }
}

impl Commanded {
    /// The volumes of these names; where none is named, the only one there is.
    ///
    /// # Errors
    /// `not-found` for a name that is not there or a store without volumes; `usage` where there are several.
    pub(crate) fn volumes(&self, names: &[String]) -> Outcome<Vec<Named>> {
        let known = || self.volumes.iter().map(|v| v.name.as_str());
        if names.is_empty() {
            return match self.volumes.as_slice() {
                [only] => Ok(vec![only.clone()]),
                _ => refuse(several(known())),
            };
        }
        let find = |name: &String| match self.volumes.iter().find(|v| v.name == *name) {
            Some(volume) => Ok(volume.clone()),
            None => refuse(missing("volume", name, known(), "strand volume list")),
        };
        names.iter().map(find).collect()
    }

    /// Carries a command out, durably.
    ///
    /// # Errors
    /// As the engine's `Store::run`.
    pub(crate) fn run(&self, actor: &Actor, command: Command) -> Outcome<Done> {
        let way = self.way.as_ref();
        match way.expect("only close and drop take it, and both consume this") {
            Way::Opened(store) => Ok(store.run(actor, command)?),
            Way::Daemon(daemon) => Ok(daemon.run(command, false)?.into_done()),
        }
    }

    /// Leaves the store in good order.
    ///
    /// # Errors
    /// As the engine's `Store::close`.
    pub(crate) fn close(mut self) -> Outcome {
        self.end()
    }

    fn end(&mut self) -> Outcome {
        match self.way.take() {
            None => Ok(()),
            Some(Way::Opened(store)) => Ok(store.close()?),
            Some(Way::Daemon(daemon)) => Ok(daemon.end_session().map(drop)?),
        }
    }
}

impl Drop for Commanded {
    fn drop(&mut self) {
        if self.end().is_err() {
            // The command's own failure is what is told; this one follows from it.
            tracing::debug!("the store was not closed in good order");
        }
    }
}
