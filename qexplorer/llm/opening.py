"""Opening the engine that the settings name."""

from qexplorer.llm.engine import Engine, EngineSettings


def open_engine(settings: EngineSettings) -> Engine:
    """Open the engine that the settings name, importing only what it needs.

    Raises ModelError when a model, an adapter or a setting of it is missing or cannot be used.
    """
    if settings.kind == "scripted":
        from qexplorer.llm.scripted import ScriptedEngine, salient_words

        return ScriptedEngine(reply=salient_words)
    if settings.kind == "openai":
        from qexplorer.llm.openai_engine import OpenAIEngine

        return OpenAIEngine(settings)
    from qexplorer.llm.transformers_engine import TransformersEngine

    return TransformersEngine.load(settings)
