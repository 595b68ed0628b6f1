"""`python -m greenlang_async_storage.cli`."""

from greenlang_async_storage.cli import main

if __name__ == "__main__":
    main()
