//! Atomic writes of files.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use tempfile::Builder;

/// Opens a regular file and returns its length. Refuses all other kinds of files: a pipe could block forever.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let about = file.metadata()?;
    check_regular(&about)?;
    Ok((file, about.len()))
}

/// Writes a file atomically: writes a temporary file in the same folder, syncs it to disk, and renames it. An error
/// leaves the folder unchanged; only a killed process can leave the temporary file. Follows symbolic links, and keeps
/// the permissions of an existing file.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (target, permissions) = match fs::metadata(path) {
        Ok(about) => {
            check_regular(&about)?;
            (fs::canonicalize(path)?, Some(about.permissions()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(link) => return write(&path.with_file_name(link), bytes), // the link's target does not exist
            Err(_) => (path.to_path_buf(), None),
        },
        Err(error) => return Err(error),
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Not `tempfile_in`: its files are private to the user, and its errors have no OS error number.
    let mut temporary = Builder::new()
        .prefix(".fastvae-")
        .suffix(".tmp")
        .make_in(folder, |path| File::create_new(path))?;
    let file = temporary.as_file_mut();
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    if cfg!(unix)
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all(); // some file systems cannot sync a folder; the file exists in any case
    }
    Ok(())
}

fn check_regular(about: &Metadata) -> io::Result<()> {
    let (kind, what) = match (about.is_file(), about.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => (ErrorKind::IsADirectory, "it is a folder; name a file in it"),
        _ => (ErrorKind::InvalidInput, "it is no regular file; use one, or the bytes themselves"),
    };
    Err(io::Error::new(kind, what))
}
