"""Weights from the Hugging Face hub, through its own library and cache."""

from pathlib import Path

from model_zoo.registry import Checkpoint

_FILE = "model.safetensors"


def fetch(checkpoint: Checkpoint) -> Path:
    """Gives the local copy of a checkpoint's weights, fetched where it is missing.

    The library's own settings hold: HF_HOME (the cache), HF_TOKEN, HF_HUB_OFFLINE.

    Raises:
        FileNotFoundError: If it is neither cached nor to be had.
    """
    if not checkpoint.repository:
        raise FileNotFoundError(
            f"{checkpoint.name} is on no hub; get {checkpoint.url or 'the file'} "
            f"yourself, run `jaxbench convert` on it if it is a pickle, and give the "
            "result as source"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    file = checkpoint.file or _FILE
    place = f"{file} of {checkpoint.repository}"
    try:
        return Path(hf_hub_download(checkpoint.repository, file))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise FileNotFoundError(
            f"{place} is not cached and the hub cannot be reached ({error}); on a "
            f"machine with a network run `hf download {checkpoint.repository}` and "
            "copy its cache here (HF_HOME), or give a file or folder as source"
        ) from error
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"{checkpoint.repository} asks for its licence to be accepted: do so on "
            "its page, then `hf auth login` or set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, EntryNotFoundError, HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"the hub has no {place} ({error}); give a file or folder as source"
        ) from error
