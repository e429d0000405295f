from types import ModuleType

best: ModuleType
instruction_set: str
CHUNK: int
