//! The file of a Unix socket that listens: made with its rights before anybody can connect, and removed at the end, but
//! only as long as it is ours.
//!
//! A file that is no socket is never touched, and neither is the socket of somebody who answers, unless both share it.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// A file that we have made. Dropping removes it, unless another one has taken its place.
pub(in crate::server) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    made: Option<(u64, u64)>,
}

/// What stands at the path of a socket.
enum SocketPlace {
    Nothing,
    /// The socket of a process that has ended.
    Stale,
    /// Somebody listens there.
    Answered,
}

impl SocketFile {
    pub(in crate::server) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_some() && self.made == identity(&self.path) {
            // It may be gone by now.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`. Where somebody listens there and `shared` says that it may be so, the file takes the place of the
/// other one in one step: at every moment somebody answers.
pub(in crate::server) fn listen(
    path: &Path,
    mode: u32,
    backlog: i32,
    shared: bool,
) -> io::Result<(SocketFile, UnixListener)> {
    let taken = || io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there");
    match look(path)? {
        SocketPlace::Nothing => make(path, path, mode, backlog),
        SocketPlace::Stale => {
            std::fs::remove_file(path)?;
            make(path, path, mode, backlog)
        }
        SocketPlace::Answered if shared => {
            let mut beside = OsString::from(path);
            beside.push(".new");
            let beside = PathBuf::from(beside);
            match look(&beside)? {
                SocketPlace::Nothing => {}
                SocketPlace::Stale => std::fs::remove_file(&beside)?,
                SocketPlace::Answered => return Err(taken()),
            }
            let made = make(&beside, path, mode, backlog)?;
            if let Err(error) = std::fs::rename(&beside, path) {
                let _ = std::fs::remove_file(&beside);
                return Err(error);
            }
            Ok(made)
        }
        SocketPlace::Answered => Err(taken()),
    }
}

/// Listens at `at`, where there is nothing; the file will be at `path`.
fn make(at: &Path, path: &Path, mode: u32, backlog: i32) -> io::Result<(SocketFile, UnixListener)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(at)?).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "its folder is not there"),
        _ => error,
    })?;
    // From here on the file goes with the socket.
    let file = SocketFile { path: path.to_owned(), made: identity(at) };
    let listening = std::fs::set_permissions(at, Permissions::from_mode(mode))
        // Until then nobody can connect.
        .and_then(|()| socket.listen(backlog));
    match listening {
        Ok(()) => Ok((file, UnixListener::from(OwnedFd::from(socket)))),
        Err(error) => {
            let _ = std::fs::remove_file(at);
            Err(error)
        }
    }
}

fn look(path: &Path) -> io::Result<SocketPlace> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file there is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SocketPlace::Nothing),
        Err(error) => return Err(error),
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A process that is busy is there, and is not waited for.
    asking.set_nonblocking(true)?;
    match asking.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(SocketPlace::Answered),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(SocketPlace::Answered),
            io::ErrorKind::ConnectionRefused => Ok(SocketPlace::Stale),
            io::ErrorKind::NotFound => Ok(SocketPlace::Nothing),
            _ => Err(error),
        },
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn listen_at(path: &Path, shared: bool) -> io::Result<(SocketFile, UnixListener)> {
        listen(path, 0o640, 16, shared)
    }

    fn refusal(path: &Path) -> String {
        listen_at(path, false).map(|_| ()).expect_err("it is taken").to_string()
    }

    #[test]
    fn the_file_has_its_rights_and_goes_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (file, _listener) = listen_at(&path, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_left_is_replaced_and_a_socket_that_answers_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // A process that was killed leaves its file.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_file, _listener) = listen_at(&path, false).unwrap();
        assert_eq!(refusal(&path), "somebody listens there");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "kept").unwrap();
        assert_eq!(refusal(&path), "the file there is no socket");
        let link = folder.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(refusal(&link), "the file there is no socket");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert_eq!(refusal(&folder.path().join("none/s")), "its folder is not there");
    }

    #[test]
    fn the_one_before_leaves_its_successors_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = listen_at(&path, true).unwrap();
        let second = listen_at(&path, true).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
