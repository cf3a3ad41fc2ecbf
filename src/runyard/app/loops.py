"""The background work of a server: upkeep, and the built-in runner. Started after the port answers, stopped before the database closes."""

from __future__ import annotations

from runyard.app.compose import House
from runyard.app.upkeep import Upkeep


class Loops:
    """Start and stop everything that runs beside the requests."""

    def __init__(self, house: House) -> None:
        services = house.services
        self.house = house
        self.upkeep = Upkeep(services.db, services.blobs, services.now, services.terms)

    def start(self) -> list[str]:
        """Begins; answers sentences for the operator."""
        self.upkeep.start()
        return []

    def stop(self) -> None:
        """Ends; what runs is handed back."""
        self.upkeep.stop()
