"""How rows are read and written: readers' repositories, and the job's."""

from systems.librilabs.repositories.documents import Documents
from systems.librilabs.repositories.translations import Translations
from systems.librilabs.repositories.users import Users
from systems.librilabs.repositories.work import Source, TranslationWork

__all__ = ["Documents", "Source", "TranslationWork", "Translations", "Users"]
